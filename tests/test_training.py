"""The worker, for real on the smallest recipe: a run folder in, weights and cards out, and again without work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from halo_vis import HaloAttention, inspect, load_pair, meadow
from halo_vis.__main__ import main
from halo_vis.pairs import bundled_pairs
from halo_vis.training.plan import Plan
from halo_vis.training.recipe import PLANS, RECIPES, Recipe
from halo_vis.training.worker import read_run, run, write_run
from halo_vis.weights import read_weights

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`python -m halo_vis train --recipe smoke --out FOLDER`, as printed in the README."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    environment["ULTRALYTICS_SAFE_LOAD"] = "1"  # as the page sets it: the restricted loader must know our layers
    command = [sys.executable, "-m", "halo_vis", "train", "--recipe", "smoke", "--out", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


def test_weights_and_cards(trained: Path) -> None:
    """Both members, each with a card; the cards agree on everything but the member."""
    cards = {m: json.loads((trained / "weights" / f"{m}.json").read_text()) for m in ("baseline", "halo")}
    for key in ("recipe", "data", "imgsz", "epochs", "seed", "versions"):
        assert cards["baseline"][key] == cards["halo"][key]
    for name, card in cards.items():
        yolo, header = read_weights(trained / "weights" / f"{name}.safetensors")
        assert header.provenance["recipe"] == "smoke"
        assert tuple(yolo.names.values()) == meadow.NAMES
        assert 0 <= card["mAP50"] <= 1
        assert card["held_out"]


def test_members_start_alike(trained: Path) -> None:
    """Same seed, same data: after one epoch at next to no learning rate the shared tensors are still nearly equal."""
    states = [
        read_weights(trained / "weights" / f"{m}.safetensors")[0].model.state_dict() for m in ("baseline", "halo")
    ]
    first = [state["model.0.conv.weight"] for state in states]
    other = torch.randn_like(first[0])
    assert torch.nn.functional.cosine_similarity(first[0].flatten(), first[1].flatten(), dim=0) > 0.99
    assert torch.nn.functional.cosine_similarity(first[0].flatten(), other.flatten(), dim=0) < 0.5


def test_a_finished_run_opens_as_a_pair(trained: Path) -> None:
    """The weights of a run are a pair of one's own, at the size they were trained at."""
    folder = trained / "weights"
    pair = load_pair(baseline=folder / "baseline.safetensors", halo=folder / "halo.safetensors")
    assert pair.card.imgsz == RECIPES["smoke"].imgsz
    seen = inspect(pair, meadow.scene(0, "test").image, conf=0.01)
    assert set(seen.trace) == {"P3", "P4", "P5"}


def test_what_is_done_is_not_done_again(trained: Path) -> None:
    """Running the folder again trains nothing: the stages are marked as done."""
    last = trained / "out" / "halo" / "stage0" / "weights" / "last.pt"
    before = last.stat().st_mtime_ns
    run(trained, ["halo"])
    assert last.stat().st_mtime_ns == before


def test_the_folder_holds_what_was_asked(trained: Path, tmp_path: Path) -> None:
    """run.yaml is the recipe; another recipe is refused there; a folder without one is refused."""
    assert read_run(trained) == RECIPES["smoke"]
    with pytest.raises(FileExistsError, match="another run"):
        write_run(replace(RECIPES["smoke"], seed=1), trained)
    with pytest.raises(FileNotFoundError, match=r"run\.yaml"):
        read_run(tmp_path)
    with pytest.raises(ValueError, match="no member"):
        run(trained, ["nobody"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": ()}, "at least one stage"),
        ({"members": {}}, "at least one stage and one member"),
        ({"members": {"halo": "nonsense"}}, "form of 'halo'"),
        ({"member_geometry": {"nobody": {"heads": 1}}}, r"member_geometry names \['nobody'\]"),
    ],
)
def test_recipes_that_cannot_run(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RECIPES["smoke"], **change)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_recipes_survive_their_file(recipe: Recipe, tmp_path: Path) -> None:
    """What is read back from run.yaml is the recipe that was written."""
    assert read_run(write_run(recipe, tmp_path / "run")) == recipe


@pytest.mark.parametrize("path", PLANS.values(), ids=PLANS)
def test_plans_that_come_along(path: Path) -> None:
    """Each can be read whole, and starts from a pair that is there."""
    text = path.read_text(encoding="utf-8")
    plan = Plan.from_yaml(text)
    assert plan.to_yaml() == text
    pair, _, member = plan.start.removeprefix("pair:").partition("/")
    assert (member or "halo") in bundled_pairs()[pair].members


def test_members_of_other_geometry(tmp_path: Path) -> None:
    """One member of a recipe has fewer levels than the others: its model, and what its card says."""
    recipe = replace(
        RECIPES["smoke"], members={"baseline": "baseline", "low": "residual"},
        member_geometry={"low": {"levels": ["P5"], "heads": 2}}, device="cpu", threads=1,
    )  # fmt: skip
    found = run(write_run(recipe, tmp_path / "run"))
    yolo, header = read_weights(found["low"])
    assert header.architecture.levels == ("P5",) and header.architecture.heads == 2
    assert [m.heads for m in yolo.model.modules() if isinstance(m, HaloAttention)] == [2]
    cards = {name: json.loads(path.with_suffix(".json").read_text()) for name, path in found.items()}
    assert cards["low"]["levels"] == ["P5"] and cards["low"]["heads"] == 2
    assert not {"levels", "heads"} & set(cards["baseline"])


def test_pairs_command(capsys: pytest.CaptureFixture) -> None:
    """`python -m halo_vis pairs`: a row per member, with what the card says."""
    assert main(["pairs"]) == 0
    rows = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("| bccd", "| meadow", "| photos"))
    ]
    assert len(rows) == 11
    assert sum("memorised" in row for row in rows) == 2


def test_meadow_command(capsys: pytest.CaptureFixture) -> None:
    """`python -m halo_vis meadow`: all levels and heads, trained and randomised, and mAP50 with the halo ablated."""
    assert main(["meadow", "--pair", "meadow", "--scenes", "3"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines() if line.startswith(("P3 ", "P4 ", "P5 "))]
    assert [row[0] for row in rows].count("P3") == 1 + 2
    assert [row[0] for row in rows].count("P5") == 1 + 8
    assert all(float(value) >= 0 for row in rows for value in row[2:])
    assert "halo ablated" in printed
    assert main(["meadow", "--pair", "photos", "--scenes", "3"]) == 2
    assert "meadow's" in capsys.readouterr().err
