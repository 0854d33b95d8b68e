"""What a person does on the Fine-tune tab: choose, start, leave, come back, stop, resume, compare, open."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import bad_zips
import pytest
from own_server import OwnServer, serving
from playwright.sync_api import Browser, BrowserContext, Page, expect
from test_explorer_axe import findings
from visitor import PATIENCE_MS, Watch, wait_ready

from demo.texts import TEXTS

LONG, SHORT = 25, 8  # epochs: of the run that is watched, and of the one that is stopped
TRAINING_MS = 5 * PATIENCE_MS


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A machine of one's own, without a network and without data."""
    with serving(tmp_path_factory.mktemp("train"), HALO_VIS_TEST_DATA=str(tmp_path_factory.mktemp("none"))) as server:
        yield server


def arrive(context: BrowserContext, url: str, tab: bool = True) -> tuple[Page, Watch]:
    """A page of a visitor who may have been here before, on the Fine-tune tab."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    watch = Watch(page)
    page.goto(url)
    wait_ready(page)
    if tab:
        page.get_by_role("tab").nth(1).click()
        expect(page.locator("#runs .scroll, #runs .note")).to_be_visible()
    return page, watch


def visitor(browser: Browser, **options: object) -> BrowserContext:
    """Somebody with a browser of their own."""
    return browser.new_context(**({"viewport": {"width": 1440, "height": 900}, "locale": "en-GB"} | options))


def unfold(page: Page, *folds: str) -> None:
    """Open folds that are closed."""
    for fold in folds:
        button = page.locator(f"#{fold} > button").first
        if "open" not in (button.get_attribute("class") or ""):
            button.click()


def fill(page: Page, **values: object) -> None:
    """Type numbers into the form, as they stand on the page."""
    unfold(page, "step-data", "step-recipe", "settings")
    for name, value in values.items():
        page.locator(f"#f-{name} input").fill(str(value))
    expect(page.locator("#changed")).to_contain_text(f"Epochs {values['epochs']} ")


def choose_halo_only(page: Page) -> None:
    """The short preset that trains the halo layers alone."""
    unfold(page, "step-recipe")
    page.locator("#preset label").nth(3).click()
    expect(page.locator("#preset-about")).to_contain_text("halo layers alone")
    expect(page.locator("#kept")).to_contain_text("kept")
    assert page.locator("#f-trained input").nth(1).is_checked()


def begin(page: Page, title: str, **values: object) -> None:
    """Fill in, name and start a tiny run."""
    fill(page, meadow_train=8, meadow_val=4, meadow_test=4, imgsz=64, **values)
    page.locator("#f-title input, #f-title textarea").fill(title)
    page.click("#start")
    expect(page.locator("#start-said")).to_contain_text("queue")
    expect(page.locator("#run-view")).to_contain_text(title)


def snapshot(page: Page, number: int = 0) -> dict:
    """What the view shows of a run."""
    return page.evaluate(f"window.haloRuns.value().runs[{number}]")


def wait_state(page: Page, state: str) -> None:
    """Until the run in focus has come to a state."""
    page.wait_for_function(
        "(state) => window.haloRuns?.value().runs?.[0]?.state === state", arg=state, timeout=TRAINING_MS
    )


def wait_epochs(page: Page, least: int) -> int:
    """Until the halo model has done so many epochs; how many they are."""
    done = "(window.haloRuns.value().runs?.[0]?.members.find((m) => m.name === 'halo')?.epochs_done ?? 0)"
    page.wait_for_function(f"(least) => {done} >= least", arg=least, timeout=TRAINING_MS)
    return page.evaluate(done)


def epochs(run: Path, member: str) -> list[int]:
    """Epochs that a run has recorded, each once."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return sorted({e["epoch"] for e in events if e["kind"] == "epoch" and e["member"] == member})


def test_a_run_from_start_to_explorer(browser: Browser, own: OwnServer) -> None:
    """Acceptance 1: it is watched, left, found again after a restart of the server, finishes, opens in the explorer."""
    context = visitor(browser)
    page, watch = arrive(context, own.url)
    choose_halo_only(page)
    begin(page, "watched to its end", epochs=LONG)

    first = wait_epochs(page, 1)
    before = snapshot(page)["progress"]["done"]
    page.wait_for_function("(before) => window.haloRuns.value().runs[0].progress.done > before", arg=before)
    second = wait_epochs(page, first + 1)
    halo = next(m for m in snapshot(page)["members"] if m["name"] == "halo")
    assert len(halo["curves"]["loss"]) >= second > first
    expect(page.locator("#do-stop")).to_be_visible()
    expect(page.locator("#do-kill")).to_be_hidden()

    page.close()
    page, again = arrive(context, own.url)
    expect(page.locator("#run-view")).to_contain_text("watched to its end")
    assert wait_epochs(page, second) < LONG
    run = own.runs / snapshot(page)["id"]
    page.close()
    own.kill()
    assert json.loads((run / "status.json").read_text())["state"] == "running"
    own.start()
    page, last = arrive(context, own.url)
    expect(page.locator("#run-view")).to_contain_text("watched to its end")
    wait_state(page, "finished")
    assert epochs(run, "halo") == list(range(1, LONG + 1))
    assert epochs(run, "baseline") == []
    expect(page.locator("#run-view")).to_contain_text("halo minus baseline")
    expect(page.locator("#runs tr.in-focus")).to_contain_text("finished")

    page.click("#do-open")
    expect(page.locator("#status")).to_contain_text("probe.png", timeout=TRAINING_MS)
    wait_ready(page)
    expect(page.locator("#pair input")).to_have_value("run: watched to its end")
    assert page.locator("#run").is_visible()
    context.close()
    assert [*watch.problems, *again.problems, *last.problems] == []


def test_a_run_is_stopped_resumed_and_compared(browser: Browser, own: OwnServer) -> None:
    """Acceptance 1, second half: as many epochs as asked; two runs in the history, laid over each other."""
    from gradio_client import Client

    client = Client(own.url, verbose=False)
    with pytest.raises(Exception, match="epochs must lie between 1 and 1000, got 0"):
        client.predict({"epochs": 0}, "", api_name="/train")
    plan = {"meadow_train": 4, "meadow_val": 2, "meadow_test": 2, "imgsz": 64, "epochs": 1, "member": "halo"}
    other = client.predict(plan | {"title": "from a script"}, "", api_name="/train")["id"]
    context = visitor(browser)
    page, watch = arrive(context, own.url)
    expect(page.locator("#runs")).to_contain_text("from a script")
    choose_halo_only(page)
    begin(page, "stopped and resumed", epochs=SHORT)
    wait_epochs(page, 1)
    page.click("#do-stop")
    expect(page.locator("#run-said")).to_contain_text("nothing is lost")
    wait_state(page, "stopped")
    run = own.runs / snapshot(page)["id"]
    done = epochs(run, "halo")
    assert 1 <= len(done) < SHORT
    page.click("#do-resume")
    wait_state(page, "finished")
    assert epochs(run, "halo") == list(range(1, SHORT + 1))

    rows = page.locator("#runs tbody tr")
    scripted = rows.filter(has_text="from a script")
    expect(rows.first).to_contain_text("stopped and resumed")
    expect(scripted).to_contain_text("finished")
    assert client.predict(other, "", api_name="/run_status")["state"] == "finished"
    page.locator(f"#runs [data-beside='{other}']").check()
    page.wait_for_function("window.haloRuns.value().runs.length === 2")
    assert [snapshot(page, n)["title"] for n in (0, 1)] == ["stopped and resumed", "from a script"]
    assert page.evaluate("window.haloRuns.series().length") >= 2
    search = page.locator("#search input")
    search.fill("resumed")
    expect(rows).to_have_count(1)
    search.fill("")
    expect(scripted).to_have_count(1)

    unfold(page, "about-run")
    page.locator("#run-note textarea").fill("the halo layers alone <b>learn</b>")
    page.click("#keep")
    expect(page.locator("#outcome-said")).to_contain_text("Saved")
    expect(rows.first).to_contain_text("<b>learn</b>")
    page.click("#take-weights")
    expect(page.locator("#run-files")).to_contain_text("safetensors")
    with page.expect_download() as download:
        page.locator("#run-files a").first.click()
    assert Path(download.value.path()).stat().st_size > 1_000_000

    page.click("#do-retry")
    expect(page.locator("#f-epochs input")).to_have_value(str(SHORT))
    page.click("#delete")
    page.click("#delete-sure")
    expect(rows.filter(has_text="stopped and resumed")).to_have_count(0)
    assert not run.exists()
    context.close()
    assert watch.problems == []


def test_two_tabs_notes_and_languages(browser: Browser, own: OwnServer) -> None:
    """What another tab has done comes by itself; a note stays while it is written; the words follow the language."""
    from gradio_client import Client

    client = Client(own.url, verbose=False)
    plan = {"meadow_train": 4, "meadow_val": 2, "meadow_test": 2, "imgsz": 64, "epochs": 1, "member": "halo"}
    ids = [client.predict(plan | {"title": title}, "", api_name="/train")["id"] for title in ("first", "second")]
    for run in ids:
        client.predict(run, "stop", "", api_name="/run_action")
    context = visitor(browser)
    page, watch = arrive(context, own.url)
    row = page.locator("#runs tbody tr")
    row.filter(has_text="second").get_by_role("button").first.click()
    expect(page.locator("#run-view")).to_contain_text("second")
    unfold(page, "about-run")
    expect(page.locator("#run-title input, #run-title textarea")).to_have_value("second")
    for state in (row.nth(0), row.nth(1)):
        expect(state).to_contain_text(re.compile("stopped|finished"), timeout=TRAINING_MS)

    other, also = arrive(context, own.url)
    rows = other.locator("#runs tbody tr")
    rows.filter(has_text="first").get_by_role("button").first.click()
    unfold(other, "about-run")
    expect(other.locator("#run-title input, #run-title textarea")).to_have_value("first")
    page.locator("#run-note textarea").fill("kept while it is written")
    other.locator("#run-note textarea").fill("x" * 4001)
    other.click("#keep")
    expect(other.locator("#outcome-said")).to_contain_text("at most 4000")
    page.click("#delete")
    expect(page.locator("#delete-sure")).to_be_visible()
    other.click("#delete")
    other.click("#delete-sure")
    expect(rows.filter(has_text="first")).to_have_count(0)
    expect(row.filter(has_text="first")).to_have_count(0)
    expect(page.locator("#delete-sure")).to_be_visible()  # news of another run takes nothing away from under a person
    expect(page.locator("#run-note textarea")).to_have_value("kept while it is written")
    page.click("#keep")
    expect(page.locator("#outcome-said")).to_contain_text("Saved")
    expect(rows.filter(has_text="second")).to_contain_text("kept while")
    assert json.loads((own.runs / ids[1] / "about.json").read_text())["note"] == "kept while it is written"

    expect(page.locator("#kept")).to_contain_text("kept")
    page.locator("#language label").nth(1).click()
    expect(page.locator("#kept")).to_contain_text("保留")
    unfold(page, "step-data")
    expect(page.locator("#f-data input")).to_have_value(TEXTS["zh-CN"]["data_meadow"])
    expect(page.locator("#run-note textarea")).to_have_value("kept while it is written")
    context.close()
    assert [*watch.problems, *also.problems] == []


def test_data_is_checked_before_it_is_used(browser: Browser, own: OwnServer, tmp_path: Path) -> None:
    """A zip with a bad label names its file and line; a good one is counted, shown, and can be deleted."""
    context = visitor(browser)
    page, watch = arrive(context, own.url)
    unfold(page, "step-data", "upload-fold")
    bad = bad_zips.pack(
        tmp_path / "bad.zip", bad_zips.good() | {"labels/train/train1.txt": "0 0.5 0.5 0.5 0.5\n7 2 0.5 x\n"}
    )
    page.set_input_files("#zip-file input[type=file]", str(bad))
    problems = page.locator("#data-said")
    expect(problems).to_contain_text("The data set was not taken")
    expect(problems).to_contain_text("labels/train/train1.txt")
    expect(problems).to_contain_text("line 2")

    good = bad_zips.pack(tmp_path / "ants.zip", bad_zips.good())
    page.set_input_files("#zip-file input[type=file]", str(good))
    expect(page.locator("#report")).to_contain_text("ant")
    expect(page.locator("#previews img")).to_have_count(6)
    expect(page.locator("#f-data input")).to_have_value("ants (uploaded)")
    page.click("#data-delete")
    page.click("#data-delete-sure")
    expect(page.locator("#data-said")).to_contain_text("deleted")
    assert list((own.data / "datasets").glob("ants*")) == []

    page.locator("#f-meadow_train input").fill("0")
    page.click("#check")
    expect(problems.locator("[data-kind=error]")).to_contain_text("Training")
    with urllib.request.urlopen(f"{own.url}/healthz") as answer:
        assert json.load(answer)["status"] == "ok"
    context.close()
    assert watch.problems == []


def test_the_form_speaks_yaml(browser: Browser, own: OwnServer) -> None:
    """What is saved can be loaded; what is wrong is named by its field; geometry says what starts anew."""
    context = visitor(browser)
    page, watch = arrive(context, own.url)
    unfold(page, "step-recipe", "command-fold", "settings", "geometry")
    yaml = page.locator("#yaml textarea")
    page.locator("#f-epochs input").fill("7")
    expect(yaml).to_have_value(re.compile("epochs: 7"))
    kept = yaml.input_value()
    with page.expect_download() as download:
        page.click("#yaml-save")
    assert Path(download.value.path()).read_text() == kept
    yaml.fill(kept.replace("epochs: 7", "epochs: many"))
    page.click("#yaml-use")
    expect(page.locator("#yaml-said [data-kind=error]")).to_contain_text("Epochs")
    expect(page.locator("#kept")).to_contain_text("kept")
    expect(yaml).to_have_value(re.compile("epochs: many"))  # what is refused stays, to be put right
    yaml.fill(kept.replace("epochs: 7", "epochs: 3"))
    page.click("#yaml-use")
    expect(page.locator("#f-epochs input")).to_have_value("3")
    expect(page.locator("#changed")).to_contain_text("Epochs 3 (recipe: 10)")

    expect(page.locator("#kept")).to_contain_text("P3, P4, P5: kept")
    page.locator("#f-dim_head input").fill("16")
    expect(page.locator("#kept")).to_contain_text("start anew")
    page.locator("#f-imgsz input").fill("100")
    expect(page.locator("#changed [data-kind=error]")).to_contain_text("multiple of 32")
    page.click("#start")
    expect(page.locator("#start-said [data-kind=error]")).to_contain_text("Image size")
    context.close()
    assert watch.problems == []


def test_visitors_of_a_host_have_their_own_runs(browser: Browser, tmp_path: Path) -> None:
    """Who did not start a run neither sees it nor stops it, on the page or past it."""
    with serving(tmp_path, HALO_VIS_HOSTED="1", HALO_VIS_MAX_EPOCHS="20") as server:
        mine, other = visitor(browser), visitor(browser)
        page, watch = arrive(mine, server.url)
        choose_halo_only(page)
        begin(page, "mine alone", epochs=20)
        wait_epochs(page, 1)
        run = server.run()
        assert len(json.loads((run / "about.json").read_text())["owner"]) == 64

        theirs, watched = arrive(other, server.url)
        expect(theirs.locator("#runs")).to_contain_text("No runs yet")
        expect(theirs.locator("#do-stop")).to_be_hidden()
        assert "mine alone" not in theirs.content()
        assert run.name not in theirs.content()

        stranger = "s" * 43
        for elem_id, at in (("do-stop", 1), ("do-stop-now", 1), ("do-kill", 1)):
            answer = server.raw(elem_id, "click", {0: run.name, at: stranger, 2: "en", 3: run.name})
            assert "not here" in json.dumps(answer), answer
        answer = server.raw("delete-sure", "click", {0: run.name, 1: stranger, 2: "en"})
        assert "not here" in json.dumps(answer)
        for junk in ("../..", {"a": 1}, ["x"], 7, None, run.name + "/../" + run.name):
            answer = server.raw("do-stop", "click", {0: junk, 1: stranger, 2: "en"})
            assert answer["success"], answer
            assert "not here" in json.dumps(answer)
        answer = server.raw("take-weights", "click", {0: run.name, 1: stranger, 2: "en"})
        assert "not here" in json.dumps(answer)
        assert json.loads((run / "status.json").read_text())["state"] in ("running", "finished")

        fill(theirs, epochs=21, imgsz=64)
        theirs.click("#start")
        expect(theirs.locator("#start-said [data-kind=error]")).to_contain_text("at most 20")
        mine.close()
        other.close()
        assert [*watch.problems, *watched.problems] == []


def test_zero_gpu_says_why(browser: Browser, tmp_path: Path) -> None:
    """Inspection only, with the reason and a link to a Space of one's own."""
    with serving(tmp_path, SPACES_ZERO_GPU="1", SPACE_ID="someone/halo-vis") as server:
        context = visitor(browser)
        page, watch = arrive(context, server.url, tab=False)
        page.get_by_role("tab").nth(1).click()
        expect(page.locator("#no-training")).to_contain_text("ZeroGPU")
        link = page.locator("#no-training a").get_attribute("href")
        assert link == "https://huggingface.co/spaces/someone/halo-vis?duplicate=true"
        assert page.locator("#start").count() == 0
        assert findings(page) == []
        page.locator("#language label").nth(1).click()
        expect(page.locator("#no-training")).to_contain_text("复制")
        context.close()
        assert watch.problems == []


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_chinese_and_accessible(browser: Browser, own: OwnServer, colours: str) -> None:
    """Every fold open: no English sentence of ours, nothing for axe, nothing wider than a phone's screen."""
    size = {"width": 390, "height": 844} if colours == "dark" else {"width": 1440, "height": 900}
    context = visitor(browser, locale="zh-CN", color_scheme=colours, viewport=size)
    page, watch = arrive(context, own.url)
    expect(page.locator("#start")).to_have_text("开始")
    unfold(
        page,
        "step-models",
        "geometry",
        "step-data",
        "upload-fold",
        "probe-fold",
        "step-recipe",
        "settings",
        "command-fold",
    )
    expect(page.locator("#kept")).to_contain_text("保留")
    shown = page.locator("#train-body").inner_text()
    english = {words for key, words in TEXTS["en"].items() if words != TEXTS["zh-CN"][key] and len(words) > 9}
    left = [words for words in english if "{" not in words and words in shown]
    assert left == []
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    context.close()
    assert watch.problems == []
