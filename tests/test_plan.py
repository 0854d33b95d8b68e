"""Plans: what may be chosen, what is refused and how, and that they survive being saved."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from halo_vis.__main__ import main
from halo_vis.training.begin import create, estimate, kept, start_of
from halo_vis.training.plan import FIELDS, PRESETS, Plan, PlanError
from halo_vis.training.recipe import recipe_of
from halo_vis.training.run_folder import RunFolder
from halo_vis.training.worker import read_run
from halo_vis.transplant import Architecture

REPOSITORY = Path(__file__).parent.parent


def test_fields_and_plan_know_the_same() -> None:
    assert list(FIELDS) == [f.name for f in dataclasses.fields(Plan)]
    for name, field in FIELDS.items():
        assert getattr(Plan(), name) == field.default


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_plans_and_survive_yaml(preset: str) -> None:
    plan = Plan.from_dict({}, preset=preset)
    assert Plan.from_yaml(plan.to_yaml()) == plan
    assert plan.changed(preset) == {}


def test_what_differs_is_named() -> None:
    plan = Plan.from_dict({"epochs": 7}, preset="article")
    assert plan.changed("article") == {"epochs": 7}


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        ({"epochs": 0}, "epochs", "between 1 and 1000"),
        ({"epochs": "10; rm -rf /"}, "epochs", "a number"),
        ({"epochs": True}, "epochs", "a number"),
        ({"lr0": float("nan")}, "lr0", "a number"),
        ({"imgsz": 333}, "imgsz", "multiple of 32"),
        ({"optimizer": "__import__('os')"}, "optimizer", "one of auto"),
        ({"levels": ["P3", "P9"]}, "levels", "some of P3"),
        ({"levels": []}, "levels", "one or more"),
        ({"data": "../../etc"}, "data", "dataset:ID"),
        ({"data": "dataset:../x"}, "data", "dataset:ID"),
        ({"data": "dataset:.."}, "data", "dataset:ID"),
        ({"data": "http://example.com/x.yaml"}, "data", "dataset:ID"),
        ({"start": "/etc/passwd"}, "start", "pair:NAME"),
        ({"start": "run:../../x"}, "start", "pair:NAME"),
        ({"start": "pair:a/b/c"}, "start", "pair:NAME"),
        ({"start": "", "trained": "halo"}, "trained", "untrained"),
        ({"member": "baseline", "trained": "halo"}, "trained", "no halo layers"),
        ({"title": "a\nb"}, "title", "a text"),
        ({"device": "; rm -rf /"}, "device", "numbers of GPUs"),
        ({"heads": 64}, "heads", "between 0 and 16"),
        ({"heads": 2.5}, "heads", "whole number, a share below 1"),
        ({"title": "\ud800"}, "title", "a text"),
        ({"epochs": 10**400}, "epochs", "between 1 and 1000"),
        ({"activation": "eval('1')"}, "activation", "knows"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values: dict, field: str, says: str) -> None:
    with pytest.raises(PlanError, match=says) as refused:
        Plan.from_dict(values)
    assert refused.value.field == field


@pytest.mark.parametrize(("said", "heads"), [(0, None), (0.25, 0.25), (1, 1), (4.0, 4)])
def test_heads_are_a_number_or_a_share(said: float, heads: int | float | None) -> None:
    plan = Plan.from_dict({"heads": said})
    found = Plan.from_yaml(plan.to_yaml()).geometry()["heads"]
    assert found == heads and type(found) is type(heads)
    assert Architecture(**plan.geometry()).heads == heads


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch x']",
        "a: &a [x]\nb: *a",
        "- 1\n- 2",
        "epochs: [",
        "x" * 30_000,
        "epochs: 1\n" * 10 + "\x00",
        "[" * 19_000,
    ],
)
def test_yaml_that_is_no_plan(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError):
        Plan.from_yaml(text)
    assert list(tmp_path.iterdir()) == []


def test_nothing_heavy_is_imported_for_a_plan() -> None:
    """The page needs names and ranges before torch is there: the module by itself imports neither torch nor ours."""
    code = (
        "import importlib.util, sys; "
        f"spec = importlib.util.spec_from_file_location('plan', {str(REPOSITORY / 'halo_vis/training/plan.py')!r}); "
        "m = importlib.util.module_from_spec(spec); sys.modules['plan'] = m; spec.loader.exec_module(m); "
        "assert m.Plan().epochs == 10; assert not {'torch', 'ultralytics', 'halo_vis'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_ultralytics_gets() -> None:
    """The article's preset asks for exactly what its command asks for: nothing but Ultralytics' own defaults."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    arguments = Plan.from_dict({}, preset="article").arguments()
    assert (arguments.pop("epochs"), arguments.pop("batch"), arguments.pop("optimizer")) == (10, 8, "MuSGD")
    assert arguments.pop("patience") == 0  # no early stop; the default of 100 is never reached in 10 epochs
    assert arguments == {name: DEFAULT_CFG_DICT[name] for name in arguments}


def test_a_run_from_a_saved_plan(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """`train --recipe plan.yaml --out FOLDER`: the folder holds what was asked; another plan there is refused."""
    plan = Plan.from_dict({"meadow_train": 2, "meadow_val": 1, "meadow_test": 0, "imgsz": 64, "epochs": 1})
    run = create(plan, tmp_path / "runs", tmp_path / "datasets", owner="x")
    assert run.state() == "new"
    assert read_run(run.path) == recipe_of(plan)
    assert Plan.from_yaml((run.path / "plan.yaml").read_text()) == plan
    assert run.json("about.json")["owner"] == "x"
    assert sorted(p.name for p in (run.path / "start").iterdir()) == ["baseline.safetensors", "halo.safetensors"]
    other = tmp_path / "other.yaml"
    other.write_text(dataclasses.replace(plan, epochs=2).to_yaml())
    assert main(["train", "--recipe", str(other), "--out", str(run.path)]) == 2
    assert "another run" in capsys.readouterr().err


def test_nothing_is_left_of_a_start_that_does_not_fit(tmp_path: Path) -> None:
    for values, says in [
        ({"start": "pair:nobody"}, "no pair 'nobody'"),
        ({"start": "run:nobody"}, "no finished run"),
        ({"start": "pair:meadow/nobody"}, "no member"),
        ({"scale": "s"}, "scale n"),
        ({"data": "dataset:nobody"}, "no data set"),
        ({"data": "coco8", "trained": "halo"}, "other classes"),
        ({"scale": "s", "dim_head": 4, "start": ""}, "at most 64 heads of 4096 channels"),
    ]:
        with pytest.raises(PlanError, match=says):
            create(Plan.from_dict(values), tmp_path / "runs", tmp_path / "datasets")
    left = list((tmp_path / "runs").iterdir()) if (tmp_path / "runs").exists() else []
    assert left == []


def test_which_weights_a_member_starts_from(tmp_path: Path) -> None:
    def name(member: str, **values: str) -> str:
        return start_of(Plan.from_dict(values), member, tmp_path).stem

    assert name("baseline") == "baseline"
    assert name("halo") == "halo"
    assert name("halo", form="article") == "article"
    assert name("halo", start="pair:meadow/baseline") == "baseline"
    assert (
        name("halo", start="pair:photos", form="article") == "halo"
    )  # the only halo model there; its layers start anew


def test_what_is_kept_is_said(tmp_path: Path) -> None:
    same = kept(Plan(), tmp_path)
    assert same["halo"].halo == {"P3": "kept", "P4": "kept", "P5": "kept"}
    assert same["halo"].classes
    assert same["halo"].stock == same["halo"].stock_total == 708
    wider = kept(Plan.from_dict({"halo_size": 5, "levels": ["P4"]}), tmp_path)["halo"]
    assert wider.halo == {"P4": "positions"}
    assert wider.dropped == ("P3", "P5")
    assert kept(Plan.from_dict({"dim_head": 16}), tmp_path)["halo"].halo["P3"] == "anew"
    assert kept(Plan.from_dict({"start": ""}), tmp_path) == {}


def test_an_estimate_from_measured_steps(tmp_path: Path) -> None:
    """More pictures take longer in proportion; the second call measures nothing."""
    plan = Plan.from_dict({"imgsz": 64, "batch": 2, "nbs": 2, "epochs": 2, "device": "cpu", "threads": 1})
    plan = dataclasses.replace(plan, data="coco8")  # nothing is drawn
    few, many = (estimate(plan, (n, 2), tmp_path / "cache") for n in (8, 80))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert set(few.step_s) == {"baseline", "halo"}
    assert 0 < few.seconds < many.seconds
    extra = (80 - 8) / 2 * sum(many.step_s.values()) * plan.epochs
    assert many.seconds - few.seconds == pytest.approx(extra, rel=0.02, abs=0.2)


def test_a_half_written_folder_is_no_run(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).state() == "failed"
