"""Pairs of finished runs on the page: listed from plain files, loaded, loaded anew when they change, and whose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from demo import catalogue, choices
from demo.guards import Refused
from demo.links import read_link
from halo_vis.pairs import BUNDLED, PairError

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of runs: "old" and "new" are finished, "going" is not."""
    monkeypatch.setenv("HALO_VIS_RUNS", str(tmp_path / "runs"))
    for hour, name in enumerate(("old", "new")):
        _finish(tmp_path / "runs" / name, title=f"the {name} one", hour=hour)
    (tmp_path / "runs" / "going").mkdir()
    return tmp_path / "runs"


def _finish(folder: Path, title: str, hour: int = 0, imgsz: int = 160, halo: str = "halo") -> None:
    """The bundled meadow's weights as what a run has trained."""
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    members = {}
    for name, source in (("baseline", "baseline"), ("halo", halo)):
        shutil.copyfile(BUNDLED / "meadow" / f"{source}.safetensors", folder / "weights" / f"{name}.safetensors")
        card = json.loads((BUNDLED / "meadow" / f"{source}.json").read_text())
        members[name] = card | {"file": f"weights/{name}.safetensors", "form": "article" if source == "article" else ""}
    pair = {
        "title": title, "imgsz": imgsz, "kind": "trained", "note": "", "baseline": "weights/baseline.safetensors",
        "halo": "weights/halo.safetensors", "members": members,
    }  # fmt: skip
    (folder / "pair.json").write_text(json.dumps(pair))
    os.utime(folder / "pair.json", (1_700_000_000 + 3600 * hour,) * 2)


def test_runs_stand_behind_the_bundled_pairs_newest_first(runs: Path) -> None:
    names = [name for _, name in choices.pair_choices("en")]
    assert names == ["photos", "meadow", "bccd", "run:new", "run:old", *catalogue.COCO, catalogue.OWN]
    assert dict(choices.pair_choices("en"))["run: the new one"] == "run:new"
    assert "训练：the old one" in dict(choices.pair_choices("zh-CN"))
    beside = [name for _, name in choices.beside_choices("run:old", "halo", "en")]
    assert "run:new/halo" in beside and "run:old/halo" not in beside and "meadow/article" in beside
    assert catalogue.default_imgsz("run:old") == 160
    assert choices.size_choices("run:old") == [160, 320, 480, 640, 960, 1280]
    assert choices.size_update("meadow")["value"] == 320
    assert catalogue.halo_members("run:old") == ["halo"]


def test_a_visitor_sees_their_own_alone(runs: Path) -> None:
    theirs = lambda run_id: run_id == "old"  # noqa: E731
    assert [n for _, n in choices.pair_choices("en", theirs) if n.startswith("run:")] == ["run:old"]
    assert "run:new/halo" not in dict(choices.beside_choices("meadow", "halo", "en", theirs)).values()
    assert "run:new/halo" not in catalogue.all_members(theirs)
    assert "the new one" not in catalogue.card_text("run:new", "en", theirs)
    assert catalogue.card("run:old", theirs)["title"] == "the old one"
    with pytest.raises(Refused, match="link_pair"):
        read_link("picture=a.png&pair=run%3Anew", theirs)
    with pytest.raises(Refused, match="link_pair"):
        read_link("picture=a.png&pair=meadow&beside=run%3Anew%2Fhalo", theirs)


def test_links_to_runs(runs: Path) -> None:
    link = read_link("picture=a.png&pair=run%3Anew&beside=run%3Aold%2Fhalo")
    assert (link.pair, link.member, link.imgsz, link.beside) == ("run:new", "halo", 160, "run:old/halo")
    for pair in ("run:gone", "run:going", "run:", "run:..", "run:../runs/new", "run:new/halo"):
        with pytest.raises(Refused, match="link_pair"):
            read_link(f"picture=a.png&pair={pair}")


def test_the_same_title_twice_can_be_told_apart(runs: Path) -> None:
    _finish(runs / "third", title="the new one", hour=5)
    titles = [t for t, n in choices.pair_choices("en") if n.startswith("run:")]
    assert titles == ["run: the new one (third)", "run: the new one (new)", "run: the old one"]


def test_the_card_in_words(runs: Path) -> None:
    card = json.loads((BUNDLED / "meadow" / "halo.json").read_text())
    words = catalogue.card_text("run:new", "en")
    assert "run: the new one" in words and f"{card['mAP50']:.3f}" in words and "2.85 M parameters" in words
    path = runs / "new" / "pair.json"
    evil = json.loads(path.read_text()) | {"title": "![x](http://a.example/b) <b>", "kind": "without-halo"}
    evil["members"]["baseline"] = {"origin": "somewhere"}
    path.write_text(json.dumps(evil))
    words = catalogue.card_text("run:new", "en")
    assert "](http" not in words.replace("\\]\\(", "") and "\\<b\\>" in words
    assert "halo layers taken out" in words and words.count("mAP50-95") == 1
    assert catalogue.card_text("run:gone", "en") == "This run is no longer here. Choose another pair."


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", '{"title": 1, "imgsz": 64, "members": {}, "baseline": "x"}',
        '{"title": "t", "imgsz": -1, "members": {}, "baseline": "x"}',
        '{"title": "t", "imgsz": 64, "members": {"halo": 3}, "baseline": "x"}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_pair_json_hides_its_run_alone(runs: Path, text: str) -> None:
    (runs / "new" / "pair.json").write_text(text)
    assert list(catalogue.run_cards()) == ["run:old"]
    assert catalogue.card("run:new") is None
    assert [n for _, n in choices.pair_choices("en") if n.startswith("run:")] == ["run:old"]


def test_a_link_in_the_folder_is_no_run(runs: Path, tmp_path: Path) -> None:
    _finish(tmp_path / "elsewhere", title="foreign")
    (runs / "link").symlink_to(tmp_path / "elsewhere")
    assert "run:link" not in catalogue.run_cards() and catalogue.card("run:link") is None


def test_a_member_is_called_by_its_form(runs: Path) -> None:
    _finish(runs / "new", title="article's", halo="article")
    assert choices.member_choices("run:new", "en") == [("article's form", "halo")]
    assert choices.member_choices("run:old", "en") == [("residual", "halo")]


def test_the_service_loads_a_run_and_loads_it_anew(runs: Path, tmp_path: Path) -> None:
    from demo.service import Service
    from halo_vis.transplant import architecture_of

    service = Service(tmp_path / "served")
    first = service.pair("run:new", "halo")
    assert first.card.title == "the new one" and service.pair("run:new", "halo") is first
    assert service.pair("run:old", "halo") is not first
    _finish(runs / "new", title="retrained", hour=9, halo="article")
    second = service.pair("run:new", "halo")
    assert second is not first and second.card.title == "retrained"
    assert architecture_of(second.halo.model).form == "article"
    assert sum(key[0] == "run:new" for key in service._pairs) == 1, "what it stood for before is kept"
    shutil.rmtree(runs / "new")
    with pytest.raises(PairError, match="no finished run 'new'"):
        service.pair("run:new", "halo")


def test_weights_alone_that_changed_are_noticed(runs: Path, tmp_path: Path) -> None:
    from demo.service import Service

    service = Service(tmp_path / "served")
    first = service.pair("run:new", "halo")
    weights = runs / "new" / "weights" / "halo.safetensors"
    stamp = weights.stat().st_mtime + 5
    os.utime(weights, (stamp, stamp))
    second = service.pair("run:new", "halo")
    assert second is not first
    assert torch.equal(*(p.halo.model.state_dict()["model.0.conv.weight"] for p in (first, second)))


def test_the_lists_need_no_torch(runs: Path) -> None:
    code = (
        "import sys; from demo import choices; names = [n for _, n in choices.pair_choices('en')];"
        "assert 'run:new' in names; print([m for m in ('torch', 'ultralytics', 'halo_vis') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


def test_a_run_is_inspected_through_the_page(runs: Path, bus: Path) -> None:
    """/inspect with the name of a run's pair, as a person's choice sends it."""
    from gradio_client import Client, handle_file

    from demo.page import launch

    before = dict(os.environ)
    page, url = launch(block=False)
    try:
        client = Client(url, verbose=False)
        found, _, files = client.predict(
            handle_file(str(bus)), "run:new", "halo", 0.01, 160, "one-to-many", api_name="/inspect"
        )
        assert {"baseline", "halo"} <= set(found) and files
        with pytest.raises(Exception, match="no finished run"):
            client.predict(handle_file(str(bus)), "run:gone", "halo", 0.25, 160, "one-to-many", api_name="/inspect")
    finally:
        page.close()
        os.environ.clear()
        os.environ.update(before)
