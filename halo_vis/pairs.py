"""Model pairs: a baseline YOLO26 and its halo counterpart, bundled, official, or one's own."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from ultralytics import YOLO
from ultralytics.nn import tasks

from halo_vis.attention import HaloAttention, RelPosEmb
from halo_vis.fetch import data_folder, official_weights
from halo_vis.transplant import SCALES, architecture_of, build, transplant
from halo_vis.weights import Header, WeightsError, file_hash, read_weights

BUNDLED = Path(__file__).parent.parent / "assets" / "pairs"
RUN = "run:"  # what the names of finished runs' pairs start with
_RUN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")  # the name of a folder, which leads nowhere else
FORM_TITLES = {"residual": "HaloAttention, residual", "article": "HaloAttention, article's form"}


class PairError(ValueError):
    """A pair that does not exist or does not fit together; the message says what to do."""


@dataclass(frozen=True)
class Card:
    """What is shown of a pair wherever it is offered.

    Attributes:
        imgsz: the image size it was trained at, in pixels.
        note: one sentence that belongs beside every result ("" if there is nothing to warn of).
        members: what is known of each member: recipe, data, epochs, metrics, hash of the weights.
    """

    name: str
    title: str
    imgsz: int
    note: str = ""
    memorised: bool = False
    members: dict[str, dict] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models and one lock: an Ultralytics model is not thread-safe, so whoever predicts holds the lock."""

    card: Card
    baseline: YOLO
    halo: YOLO
    member: str = "halo"
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def name(self) -> str:
        """Name under which `load_pair` finds it."""
        return self.card.name

    @property
    def untrained(self) -> bool:
        """True while no halo layer adds anything: its attention is feature similarity."""
        halos = [m for m in self.halo.model.model if isinstance(m, HaloAttention)]
        return all(m.residual and not m.to_out.weight.any() for m in halos)


def bundled_pairs() -> dict[str, Card]:
    """The pairs in the repository, by name, from their cards alone (no model is built)."""
    cards = {}
    for path in sorted(BUNDLED.glob("*/pair.json")):
        info = json.loads(path.read_text(encoding="utf-8"))
        members = {
            p.stem: json.loads(p.read_text(encoding="utf-8")) for p in sorted(path.parent.glob("*.json")) if p != path
        }
        cards[path.parent.name] = Card(path.parent.name, members=members, **info)
    return cards


def load_pair(
    name: str | None = None,
    *,
    member: str = "halo",
    baseline: str | Path | None = None,
    halo: str | Path | None = None,
    fetch: bool = False,
    runs: str | Path | None = None,
) -> Pair:
    """Load a pair.

    Args:
        name: a bundled pair ("photos", "meadow"), "coco", "coco-n", ... for the official weights, or "run:ID" for what
            a finished run has trained.
        member: which halo model, where the pair has several ("halo", "article").
        baseline, halo: instead of a name, files of one's own (.safetensors of HaloVis, or .pt, read by the restricted
            loader). Without `halo`, the baseline is transplanted.
        fetch: allow the download of official weights that are not on this machine.
        runs: the folder that holds the run folders; None: see :func:`runs_folder`.

    Raises:
        PairError: unknown name or member, or models that do not belong together.
        FileNotFoundError, WeightsError: a file is missing or damaged.
    """
    if name is None:
        if baseline is None:
            raise PairError("load_pair needs the name of a pair, or baseline=PATH (and halo=PATH).")
        return _own_pair(Path(baseline), None if halo is None else Path(halo))
    if baseline is not None or halo is not None:
        raise PairError("load_pair takes a name or files, not both.")
    if name.startswith(RUN):
        return _run_pair(name, member, runs_folder() if runs is None else Path(runs))
    if name.split("-")[0] == "coco":
        return _coco_pair(name, fetch)
    cards = bundled_pairs()
    if name not in cards:
        raise PairError(
            f"no pair named {name!r}. Choose one of {sorted(cards)}, coco-{'/'.join(SCALES)}, or pass files."
        )
    card = cards[name]
    if member == "baseline" or member not in card.members:
        raise PairError(
            f"pair {name!r} has no halo member {member!r}: choose one of {sorted(set(card.members) - {'baseline'})}."
        )
    files = {m: BUNDLED / name / f"{m}.safetensors" for m in ("baseline", member)}
    (first, _), (second, _) = (read_weights(path) for path in files.values())
    known = {m: card.members[m] | {"sha256": file_hash(path)} for m, path in files.items()}
    return Pair(replace(card, members=known), first, second, member)


def _coco_pair(name: str, fetch: bool) -> Pair:
    """Official weights, and their transplant."""
    scale = name.removeprefix("coco").removeprefix("-") or "n"
    if scale not in SCALES:
        raise PairError(f"no pair named {name!r}: the official scales are {', '.join(f'coco-{s}' for s in SCALES)}.")
    path, origin = official_weights(f"yolo26{scale}.pt", fetch=fetch)
    model = read_pt(path)
    card = Card(
        f"coco-{scale}",
        f"Official YOLO26{scale}, COCO",
        640,
        "The halo layers are transplanted and untrained: detections equal the baseline's, attention is feature "
        "similarity.",
        members={
            "baseline": {"origin": origin, "sha256": file_hash(path)},
            "halo": {"origin": "transplanted, untrained"},
        },
    )
    return Pair(card, model, transplant(model))


def runs_folder() -> Path:
    """Where run folders lie: HALO_VIS_RUNS, else "runs" in HALO_VIS_DATA, else where programs keep a person's data."""
    if runs := os.environ.get("HALO_VIS_RUNS"):
        return Path(runs).expanduser()
    if os.environ.get("HALO_VIS_DATA"):
        return data_folder() / "runs"
    # As the page has it: runs outlive a cache.
    home = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".local/share") / "halo_vis" / "runs"


def _run_pair(name: str, member: str, runs: Path) -> Pair:
    """What a finished run has trained, as its pair.json says."""
    run_id = name.removeprefix(RUN)
    folder = (runs / run_id).resolve() if _RUN_ID.fullmatch(run_id) else None
    if folder is None or folder.parent != runs.resolve() or not (folder / "pair.json").is_file():
        raise PairError(f"no finished run {run_id!r:.80} in {runs.name}. Choose another pair, or let the run finish.")
    try:
        info = json.loads((folder / "pair.json").read_text(encoding="utf-8"))
        members = {str(k): dict(v) for k, v in info["members"].items()}
        card = Card(name, str(info["title"]) or run_id, int(info["imgsz"]), str(info["note"]), members=members)
        files = {"baseline": info["baseline"], member: members[member].get("file") if member in members else None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PairError(f"{name}: its pair.json is damaged ({type(error).__name__}). Run the worker again.") from error
    if member == "baseline" or member not in members:
        have = sorted(set(members) - {"baseline"})
        raise PairError(f"pair {name!r} has no halo member {member!r:.80}: choose one of {have}.")
    paths = {m: _inside(folder, file, name) for m, file in files.items() if file is not None}
    pair = _own_pair(paths["baseline"], paths.get(member))
    for m, path in paths.items():
        members[m] = members[m] | {"sha256": file_hash(path)}
    return replace(pair, card=card, member=member)


def _inside(folder: Path, file: object, name: str) -> Path:
    """A weights file that a pair.json names, which has to lie in its own run folder."""
    path = (folder / str(file)).resolve()
    if path.suffix != ".safetensors" or not path.is_relative_to(folder):
        raise PairError(f"{name}: its pair.json names {str(file)!r:.80}, which is no .safetensors file of this run.")
    return path


def _own_pair(baseline: Path, halo: Path | None) -> Pair:
    """Files of one's own."""
    first = _read_own(baseline)
    second = transplant(first) if halo is None else _read_own(halo)
    a, b = architecture_of(first.model), architecture_of(second.model)
    if b.form == "baseline":
        raise PairError(
            f"{halo.name} has no HaloAttention layer. Pass the halo model as halo=, the stock one as baseline=."
        )
    if a.task != b.task:
        raise PairError(f"{baseline.name} is for {a.task}, {halo.name} for {b.task}: a pair needs one task.")
    if first.names != second.names:
        raise PairError(
            f"{baseline.name} and {halo.name} know different classes ({len(first.names)} and {len(second.names)}): "
            "train both on the same data."
        )
    imgsz = first.model.args.get("imgsz") or 640
    files = {"baseline": baseline} | ({"halo": halo} if halo else {})
    members = {k: {"file": p.name, "sha256": file_hash(p)} for k, p in files.items()}
    title = baseline.stem if halo is None else f"{baseline.stem} and {halo.stem}"
    return Pair(Card("own", title, imgsz, members=members), first, second)


def _read_own(path: Path) -> YOLO:
    if path.suffix == ".safetensors":
        yolo, header = read_weights(path)
        _set_imgsz(yolo, header.provenance.get("imgsz"))
        return yolo
    if path.suffix == ".pt":
        return read_pt(path)
    raise PairError(f"{path.name}: weights are .safetensors of HaloVis or .pt of Ultralytics.")


def _set_imgsz(yolo: YOLO, imgsz: object) -> None:
    """Remember the size a model was trained at, if it is one."""
    if isinstance(imgsz, int) and not isinstance(imgsz, bool) and imgsz > 0:
        yolo.model.args["imgsz"] = imgsz


def read_pt(path: str | Path) -> YOLO:
    """Read a YOLO26 .pt of one's own, with or without halo layers, through the restricted loader.

    Any global named HaloAttention or RelPosEmb is ours, so that checkpoints of the article's fork open too. What is
    read gives its architecture, class names and tensors to a model that is built here; nothing else of it is kept.
    The restricted loader is no sandbox: files from strangers belong in safetensors.

    Raises:
        FileNotFoundError: no such file.
        WeightsError: damaged, or it names code that is not on the allow-list, or is no YOLO26.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}. Check the path.")
    try:
        ours = {"HaloAttention": HaloAttention, "RelPosEmb": RelPosEmb}
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        torch.serialization.add_safe_globals(
            [(ours[n.rpartition(".")[2]], n) for n in named if n.rpartition(".")[2] in ours]
        )
        with _plain_name(path) as plain:
            checkpoint, _ = tasks.torch_safe_load(str(plain), safe_only=True)
        # torch.load turns what a pickle raises into many types; each means the same here: not a file we can take.
    except Exception as error:
        raise WeightsError(
            f"{path.name} cannot be read as weights ({type(error).__name__}: {' '.join(str(error).split())[:400]})."
        ) from error
    try:
        model = checkpoint.get("ema") or checkpoint.get("model")
        architecture = architecture_of(model)
        # The limits that a header of ours has to keep: a checkpoint may ask for no more than a safetensors file.
        header = Header(architecture, {int(k): str(v) for k, v in model.names.items()})
        state = {k: v.float() if v.is_floating_point() else v for k, v in model.state_dict().items()}
        arguments = checkpoint.get("train_args") or {}
    except (ValueError, AttributeError, TypeError, IndexError, KeyError) as error:
        raise WeightsError(f"{path.name} holds no YOLO26 that HaloVis knows: {error}") from error
    yolo = build(architecture, header.names)
    try:
        yolo.model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(
            f"{path.name} does not fit a YOLO26{architecture.scale} ({' '.join(str(error).split())[:300]})."
        ) from error
    _set_imgsz(yolo, arguments.get("imgsz") if isinstance(arguments, dict) else None)
    yolo.model.eval()
    yolo.ckpt = {"model": yolo.model}
    return yolo


@contextmanager
def _plain_name(path: Path) -> Iterator[Path]:
    """The file under a name that Ultralytics leaves alone.

    It strips spaces and apostrophes from names and, not finding the file, looks elsewhere and then asks its download
    server: a home folder named o'brien would end there.
    """
    if str(path) == str(path).strip().replace("'", ""):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "weights.pt"
        shutil.copyfile(path, plain)
        yield plain


def cards_table() -> str:
    """What the bundled pairs' cards say, as a Markdown table; GFLOPs are counted here, at the card's image size."""
    from ultralytics.utils.torch_utils import get_flops

    lines = [
        "| pair | member | data | image size | epochs | minutes | mAP50 | mAP50-95 | parameters | GFLOPs |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for pair, card in bundled_pairs().items():
        for name, m in card.members.items():
            model = read_weights(BUNDLED / pair / f"{name}.safetensors")[0].model
            for layer in model.modules():
                if isinstance(layer, HaloAttention):
                    layer.backend = "reference"  # of plain operations, which can be counted
            cells = [pair, name, "held out" if m["held_out"] else "memorised", m["imgsz"], m["epochs"]]
            cells += [f"{m['seconds'] / 60:.0f}", f"{m['mAP50']:.3f}", f"{m['mAP50-95']:.3f}"]
            cells += [f"{m['parameters'] / 1e6:.2f} M", f"{get_flops(model, m['imgsz']):.1f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
