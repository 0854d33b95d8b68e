"""The command line: python -m halo_vis inspect | figure | pairs | train | compare | meadow | bench | yolo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from halo_vis import figure_command

if TYPE_CHECKING:
    from halo_vis import Inspection
    from halo_vis.pairs import Pair


def _inspect(args: argparse.Namespace) -> int:
    """Write the files of every picture into a folder of its own."""
    from halo_vis.picture import PictureError, find_pictures

    pairs = _pairs_of(args)
    pictures = find_pictures(args.pictures)
    failed = 0
    for number, path in enumerate(pictures, 1):
        folder = args.out if len(pictures) == 1 else args.out / _folder_name(path, pictures)
        try:
            seen = _look(pairs, path, args)
        except (PictureError, FileNotFoundError) as error:
            failed += 1
            print(f"[{number}/{len(pictures)}] {path.name}: {error}", file=sys.stderr)
            continue
        files = seen.save(folder)
        kinds = [m.kind for m in seen.matches]
        counts = ", ".join(f"{kind} {kinds.count(kind)}" for kind in ("kept", "gained", "lost"))
        print(f"[{number}/{len(pictures)}] {path.name}: {counts} -> {folder} ({len(files)} files)", flush=True)
    return 1 if failed else 0


def _figure(args: argparse.Namespace) -> int:
    """Write one view of one picture."""
    figure_command.check(args)
    seen = _look(_pairs_of(args), args.picture, args)
    print(figure_command.write(seen, args))
    return 0


def _pairs_of(args: argparse.Namespace) -> list[Pair]:
    """The pair that was asked for, then those whose halo models stand beside it."""
    from halo_vis import load_pair
    from halo_vis.pairs import BUNDLED

    files = (".safetensors", ".pt")
    for name in args.beside or ():
        if args.baseline and Path(name).suffix not in files:
            raise ValueError(f"--beside {name} names a member, but --baseline has none: give a file.")
    pairs = [load_pair(args.pair, member=args.member, baseline=args.baseline, halo=args.halo, fetch=args.fetch)]
    if pairs[0].card.note:
        print(pairs[0].card.note)
    for name in args.beside or ():
        if Path(name).suffix not in files:
            pairs.append(load_pair(args.pair, member=name, fetch=args.fetch))
            continue
        baseline = args.baseline or BUNDLED / pairs[0].name / "baseline.safetensors"
        if not baseline.is_file():
            raise ValueError(f"--beside {name} needs --baseline: {pairs[0].name} has no baseline in this repository.")
        pairs.append(load_pair(baseline=baseline, halo=Path(name)))
    return pairs


def _look(pairs: list[Pair], path: Path, args: argparse.Namespace) -> Inspection:
    """A picture as all of the pairs see it, at one image size."""
    from halo_vis import inspect
    from halo_vis.picture import read_picture

    picture = read_picture(path)
    imgsz = pairs[0].card.imgsz if args.imgsz is None else args.imgsz
    seen, *others = (
        inspect(
            pair, picture, args.conf, imgsz, iou=args.iou, device=args.device,
            head="NMS-free" if args.nms_free else "one-to-many",
        )
        for pair in pairs
    )  # fmt: skip
    for other in others:
        seen = seen.with_beside(other)
    return seen


def _folder_name(path: Path, pictures: list[Path]) -> str:
    """The picture's stem; with its suffix where another picture has the same stem."""
    same = [p for p in pictures if p.stem == path.stem]
    if len(same) == 1:
        return path.stem
    names = [p.name for p in same]
    return path.name if names.count(path.name) == 1 else f"{path.name}-{pictures.index(path) + 1}"


def _train(args: argparse.Namespace) -> int:
    """Write a run folder, or run one."""
    from halo_vis.training.worker import run

    folder = args.folder
    if args.recipe:
        if not args.out:
            raise ValueError("train --recipe NAME needs --out RUN_FOLDER.")
        folder = _write_run(args.recipe, args.out)
    if folder is None:
        raise ValueError("train needs a run folder, or --recipe NAME --out RUN_FOLDER.")
    for name, weights in run(folder, args.member or None, args.device or "", args.threads).items():
        print(f"{name}: {weights}")
    return 0


def _write_run(recipe: str, folder: Path) -> Path:
    """A run folder from the name of a recipe, or from a plan that the page saved as YAML; one that is there goes on."""
    from halo_vis.pairs import runs_folder
    from halo_vis.training.begin import create, datasets_folder
    from halo_vis.training.plan import Plan
    from halo_vis.training.recipe import PLANS, RECIPES
    from halo_vis.training.worker import read_run, write_run

    if recipe in RECIPES:
        return write_run(RECIPES[recipe], folder)
    path = PLANS.get(recipe, Path(recipe))
    if not path.is_file():
        names = ", ".join([*RECIPES, *PLANS])
        raise ValueError(f"no recipe named {recipe!r}; there are {names}, or the file of a saved plan.")
    plan = Plan.from_yaml(path.read_text(encoding="utf-8"))
    if (folder / "run.yaml").is_file():
        read_run(folder)
        saved = folder / "plan.yaml"
        if not saved.is_file() or Plan.from_yaml(saved.read_text(encoding="utf-8")) != plan:
            raise FileExistsError(f"{folder} holds another run. Choose a new folder for --out.")
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    return create(plan, runs_folder(), datasets_folder(), into=folder).path


def _meadow(args: argparse.Namespace) -> int:
    """Score the attention of a pair trained on the meadow."""
    from halo_vis import load_pair
    from halo_vis.score import report, score_meadow

    for member in args.member or ["halo"]:
        print(report(score_meadow(load_pair(args.pair, member=member), scenes=args.scenes)), flush=True)
    return 0


def _bench(args: argparse.Namespace) -> int:
    """Measure: the layer, the models and the app, or one of the parts."""
    if args.what is None:
        from halo_vis.bench import short

        return short.run(args.full, args.json)
    if args.what == "layer":
        from halo_vis.bench import layer

        return layer.run(layer.Plan(full=args.full), args.json)
    if args.what == "model":
        from halo_vis.bench import model

        return model.run(model.Plan(full=args.full), args.json)
    if args.what == "app":
        from halo_vis.bench import app

        return app.run(app.Plan() if args.full else app.Plan.short(), args.json)
    if args.what == "training":
        from halo_vis.bench import training

        plan = training.Plan(
            args.repeats, args.member, args.epochs, args.train, imgsz=args.imgsz, batch=args.batch, device=args.device
        )
        return training.run(plan, args.json)
    from halo_vis.bench.viewer import Plan, run

    larger = tuple(s for s in args.larger.split(",") if s)
    return run(Plan(args.pictures, args.positions, args.frames, larger), args.json)


def _compare(args: argparse.Namespace) -> int:
    """Print what finished runs came to, side by side."""
    from halo_vis.training.outcome import compare_command

    return compare_command(args)


def _pairs(args: argparse.Namespace) -> int:
    """Print the cards of the bundled pairs."""
    from halo_vis.pairs import cards_table

    print(cards_table())
    return 0


def _yolo(rest: list[str]) -> int:
    """The yolo command line, with our layers registered by the import of this package."""
    from ultralytics.cfg import entrypoint

    sys.argv[:] = ["yolo", *rest]  # in place: Ultralytics holds this very list
    entrypoint()
    return 0


def parser() -> argparse.ArgumentParser:
    """The argument parser, without `yolo`, whose arguments are Ultralytics' own."""
    top = argparse.ArgumentParser(prog="python -m halo_vis", description="See what YOLO26 with HaloAttention looks at.")
    commands = top.add_subparsers(
        dest="command", required=True, metavar="inspect | figure | pairs | train | meadow | bench | yolo"
    )

    p = commands.add_parser("inspect", help="both models on pictures; maps, detections and traces as files")
    p.add_argument("pictures", nargs="+", type=Path, help="pictures, or folders of pictures")
    p.add_argument("--out", type=Path, required=True, help="folder for the files")
    _add_models(p)
    p.set_defaults(run=_inspect)

    p = commands.add_parser("figure", help="one view of a picture as PDF, SVG, PNG, GIF, CSV or HTML")
    p.add_argument("picture", type=Path, help="a picture")
    figure_command.add_arguments(p)
    _add_models(p)
    p.set_defaults(run=_figure)

    p = commands.add_parser("train", help="train the members of a pair: run a folder, or write one from a recipe")
    p.add_argument("folder", nargs="?", type=Path, metavar="RUN_FOLDER", help="a run folder")
    p.add_argument(
        "--recipe",
        help="photos, meadow, smoke, bccd, bccd-p4p5, bccd-quarter, or the YAML of a plan that the page saved",
    )
    p.add_argument("--out", type=Path, help="the run folder to write")
    p.add_argument("--member", action="append", help="only this member (may be repeated)")
    p.add_argument("--device", help="as Ultralytics takes it")
    p.add_argument("--threads", type=int, default=0, help="CPU threads (default: Ultralytics' choice)")
    p.set_defaults(run=_train)

    p = commands.add_parser("compare", help="the members of finished runs side by side, as a Markdown table")
    p.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER", help="run folders")
    p.set_defaults(run=_compare)

    p = commands.add_parser("meadow", help="does attention fall on the bee? scored against a randomised control")
    p.add_argument("--pair", default="meadow", help="a pair trained on the meadow")
    p.add_argument("--member", action="append", help="halo model of the pair (may be repeated; default halo)")
    p.add_argument("--scenes", type=int, default=200, help="held-out scenes (default 200)")
    p.set_defaults(run=_meadow)

    p = commands.add_parser("pairs", help="the bundled pairs and what is known of them")
    p.set_defaults(run=_pairs)

    p = commands.add_parser("bench", help="measure the layer, the models, the app, the viewer, the training worker")
    p.add_argument(
        "what", nargs="?", choices=["layer", "model", "app", "viewer", "training"],
        help="what to measure (default: layer, model and app)",
    )  # fmt: skip
    p.add_argument("--full", action="store_true", help="larger models and pictures, longer series: may take an hour")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    p.add_argument("--pictures", type=int, default=500, help="pictures shown in a row (default 500)")
    p.add_argument("--positions", type=int, default=300, help="pointer positions for each view and level (default 300)")
    p.add_argument("--frames", type=int, default=300, help="frames of each hover (default 300)")
    p.add_argument("--larger", default="s", help="scales whose payload is measured too, as s,m,l,x (default s)")
    p.set_defaults(run=_bench)

    t = p.add_argument_group("training", "the worker against Ultralytics' own command, interleaved")
    t.add_argument("--repeats", type=int, default=5, help="runs of each (default 5)")
    t.add_argument("--member", default="halo", help="baseline or halo (default halo)")
    t.add_argument("--epochs", type=int, default=4, help="of each run (default 4)")
    t.add_argument("--train", type=int, default=96, help="meadow scenes (default 96)")
    t.add_argument("--imgsz", type=int, default=160, help="pixels (default 160)")
    t.add_argument("--batch", type=int, default=8, help="pictures (default 8)")
    t.add_argument("--device", default="", help="as Ultralytics takes it")

    commands.add_parser("yolo", help="the yolo command line with HaloAttention known", add_help=False)
    return top


def _add_models(p: argparse.ArgumentParser) -> None:
    """Arguments that say which models look at a picture, and how."""
    p.add_argument("--pair", help="photos, meadow, coco-n, ... (default: photos)")
    p.add_argument("--member", default="halo", help="halo model of the pair: halo, or article")
    p.add_argument("--baseline", type=Path, help="weights of one's own instead of a pair")
    p.add_argument("--halo", type=Path, help="weights of one's own; left out: the baseline is transplanted")
    p.add_argument(
        "--beside", action="append", metavar="MEMBER|FILE",
        help="another halo model to compare with: a member of the pair, or weights; may be repeated",
    )  # fmt: skip
    p.add_argument("--conf", type=float, default=0.25, help="least confidence (default 0.25)")
    p.add_argument("--iou", type=float, default=0.7, help="NMS threshold (default 0.7)")
    p.add_argument("--imgsz", type=int, help="longer side of the input (default: the pair's own)")
    p.add_argument("--nms-free", action="store_true", help="YOLO26's NMS-free head instead of the one-to-many head")
    p.add_argument("--device", help="cpu, cuda:0, mps (default: the best there is)")
    p.add_argument("--fetch", action="store_true", help="allow the download of official weights")


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors of the user end in one line, not in a traceback."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["yolo"]:
        return _yolo(argv[1:])
    args = parser().parse_args(figure_command.cells_joined(argv))
    if args.command in ("inspect", "figure") and args.pair is None and args.baseline is None:
        args.pair = "photos"
    command: Callable[[argparse.Namespace], int] = args.run
    try:
        return command(args)
    except (ValueError, OSError, RuntimeError, LookupError) as error:
        print(f"halo_vis: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
