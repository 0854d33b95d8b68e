"""Who may start what: settings, owners, folders, the form's values; all of it without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from demo import guards, limits, owners
from demo.guards import Refused
from demo.limits import HOSTED, LimitError

REPOSITORY = Path(__file__).parent.parent.parent
SETTINGS = ("SPACE_ID", "SPACES_ZERO_GPU", "HALO_VIS_HOSTED", "HALO_VIS_TRAINING", "HALO_VIS_TRACKERS", "HALO_VIS_RUNS")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *SETTINGS,
        *(f"HALO_VIS_MAX_{n}" for n in ("EPOCHS", "IMGSZ", "PICTURES", "SECONDS", "DISK_GB", "QUEUE")),
    ):
        monkeypatch.delenv(name, raising=False)


def test_a_host_is_stricter_and_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    here = limits.limits()
    assert (here.training, here.seconds) == ("anyone", 0)
    monkeypatch.setenv("HALO_VIS_HOSTED", "1")
    assert limits.limits() == HOSTED
    assert HOSTED.epochs < here.epochs
    monkeypatch.setenv("HALO_VIS_MAX_EPOCHS", "7")
    monkeypatch.setenv("HALO_VIS_MAX_DISK_GB", "0.5")
    monkeypatch.setenv("HALO_VIS_TRAINING", "nobody")
    monkeypatch.setenv("HALO_VIS_TRACKERS", "mlflow, trackio")
    found = limits.limits()
    assert (found.epochs, found.disk_gb, found.training) == (7, 0.5, "nobody")
    assert found.trackers == ("trackio", "mlflow")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HALO_VIS_MAX_EPOCHS", "many"),
        ("HALO_VIS_MAX_QUEUE", "-1"),
        ("HALO_VIS_MAX_IMGSZ", "3.5"),
        ("HALO_VIS_MAX_SECONDS", "nan"),
        ("HALO_VIS_TRAINING", "friends"),
        ("HALO_VIS_TRACKERS", "comet"),
    ],
)
def test_a_wrong_setting_names_itself(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=rf"{name} .*{value}"):
        limits.limits()


def test_a_duplicate_link_is_of_this_space_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits.duplicate_link() == ""
    monkeypatch.setenv("SPACE_ID", "someone/halo-vis")
    assert limits.duplicate_link() == "https://huggingface.co/spaces/someone/halo-vis?duplicate=true"
    monkeypatch.setenv("SPACE_ID", 'x"><script>')
    assert limits.duplicate_link() == ""


def test_a_run_belongs_to_whoever_has_the_secret(tmp_path: Path) -> None:
    mine, other = owners.new_secret(), owners.new_secret()
    run = tmp_path / "run"
    run.mkdir()
    (run / "about.json").write_text(json.dumps({"owner": owners.owner_of(mine)}))
    assert mine not in (run / "about.json").read_text()
    assert owners.is_theirs(run, mine, HOSTED)
    for stranger in (other, "", None, 7, ["x"], {"a": 1}, owners.owner_of(mine) + "!", "é" * 40):
        assert not owners.is_theirs(run, stranger, HOSTED), stranger
    for about in ("", "[1]", "{", json.dumps({"owner": ""}), json.dumps({"owner": 7}), json.dumps({"owner": "é"})):
        (run / "about.json").write_text(about)
        assert not owners.is_theirs(run, "", HOSTED)
        assert not owners.is_theirs(run, mine, HOSTED)
    assert owners.is_theirs(run, None, limits.HERE)


def test_who_may_start() -> None:
    owners.check_may_start(None, limits.HERE)
    owners.check_may_start(owners.new_secret(), HOSTED)
    with pytest.raises(Refused, match="no_owner"):
        owners.check_may_start("short", HOSTED)
    with pytest.raises(Refused, match="nobody_starts"):
        owners.check_may_start(owners.new_secret(), limits.Limits(training="nobody"))


def test_runs_outlive_the_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On one's own machine they lie where programs keep a person's data; a folder that is set has them all."""
    monkeypatch.delenv("HALO_VIS_DATA", raising=False)
    monkeypatch.delenv("HALO_VIS_DATASETS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert guards.runs_folder() == tmp_path / "share" / "halo_vis" / "runs"
    assert guards.datasets_folder() == tmp_path / "share" / "halo_vis" / "datasets"
    (tmp_path / "share" / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share" / "file"))  # nobody can write below a file
    assert guards.runs_folder() == guards.work_folder() / "runs"
    monkeypatch.setenv("HALO_VIS_DATA", str(tmp_path / "data"))
    assert guards.runs_folder() == tmp_path / "data" / "runs"
    monkeypatch.setenv("HALO_VIS_RUNS", str(tmp_path / "elsewhere"))
    assert guards.runs_folder() == tmp_path / "elsewhere"


def test_the_form_knows_every_field_and_its_words() -> None:
    from demo.texts import TEXTS
    from demo.train_plan import FIELDS, NAMES, PRESETS, choices, help_of

    assert sorted(NAMES) == sorted(FIELDS)
    for lang in TEXTS:
        for name, field in FIELDS.items():
            assert TEXTS[lang][f"f_{name}"]
            assert isinstance(help_of(name, lang, HOSTED), str)
            assert [value for _, value in choices(name, lang)] == list(field.choices)
        assert all(TEXTS[lang][f"{kind}_{name}"] for name in PRESETS for kind in ("preset", "about"))
    assert "1 to 30" in help_of("epochs", "en", HOSTED)


def test_a_preset_changes_the_recipe_and_leaves_what_was_chosen() -> None:
    from demo.train_plan import PRESETS, Plan, with_preset

    chosen = Plan.from_dict({}).as_dict() | {"data": "dataset:mine", "start": "pair:coco-n", "epochs": 33}
    short = with_preset(chosen, "halo", "short")
    assert (short["data"], short["start"], short["epochs"]) == ("dataset:mine", "pair:coco-n", 10)
    article = with_preset(chosen, "short", "article")
    assert {name: article[name] for name in PRESETS["article"]} == PRESETS["article"]
    back = with_preset(article, "article", "short")
    assert back == Plan.from_dict({}).as_dict()
    Plan.from_dict(back)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"epochs": 31}, "limit_field"),
        ({"imgsz": 672}, "limit_field"),
        ({"longest_s": 1801.0}, "limit_field"),
        ({"meadow_train": 2000}, "limit_pictures"),
        ({"trackers": ["wandb"]}, "limit_tracker"),
    ],
)
def test_a_plan_beyond_the_limits(values: dict, key: str) -> None:
    from demo.train_plan import plan_of, why

    with pytest.raises(LimitError) as caught:
        plan_of(values, HOSTED)
    assert caught.value.key == key
    for lang in ("en", "zh-CN"):
        assert "{" not in why(caught.value, lang)
    assert plan_of({}, HOSTED).longest_s == HOSTED.seconds


def test_a_wrong_value_is_named_as_the_form_names_it() -> None:
    from demo.train_plan import PlanError, plan_of, why

    for junk in ("ten", None, [], {"a": 1}, float("inf"), True):
        with pytest.raises(PlanError) as caught:
            plan_of({"epochs": junk}, HOSTED)
        assert why(caught.value, "en").startswith("Epochs: ")
        assert why(caught.value, "zh-CN").startswith("“轮数”")


def test_the_page_builds_without_torch_in_every_setting() -> None:
    heavy = "('torch', 'ultralytics', 'halo_vis')"
    code = f"import sys, demo.page as p; p.build(); print([m for m in {heavy} if m in sys.modules])"
    import os

    for extra in ({}, {"HALO_VIS_HOSTED": "1"}, {"SPACES_ZERO_GPU": "1"}, {"HALO_VIS_TRAINING": "nobody"}):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=False,
            env=os.environ | extra,
        )  # fmt: skip
        assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr
