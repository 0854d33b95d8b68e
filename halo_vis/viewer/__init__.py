"""The explorer in the browser: its script and style as text, and an inspection as the data that it reads."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from halo_vis.detections import Detections
from halo_vis.drawing import COLOUR_MAPS, DIVERGING, PALETTE, colormap_hex
from halo_vis.maps import CONTROL_SEED, OF, GlobalTrace, LevelTrace
from halo_vis.seen import Beside, Seen, provenance

FOLDER = Path(__file__).parent
VERSION = 2
MAIN = "tensors"  # the file that holds whatever does not name another
POLYGON_POINTS = 200  # per mask: enough for its outline on a screen


class _Tensors:
    """Collects arrays into one little-endian binary; every offset is a multiple of 8."""

    def __init__(self, file: str = MAIN) -> None:
        self.file = file
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, array: np.ndarray) -> dict:
        """Append as float16; returns where it is."""
        raw = np.ascontiguousarray(array, "<f2").tobytes()
        entry = {"dtype": "float16", "shape": list(array.shape), "offset": self.size}
        raw += b"\0" * (-len(raw) % 8)
        self.parts.append(raw)
        self.size += len(raw)
        return entry if self.file == MAIN else entry | {"file": self.file}

    def joined(self) -> bytes:
        """The binary."""
        return b"".join(self.parts)


def payload(seen: Seen, control: bool = True) -> tuple[dict, dict[str, bytes]]:
    """What the explorer needs besides the photo.

    Args:
        control: bring along what the halo layers would look at with random queries and keys; False: without, about a
            third smaller.

    Returns:
        Metadata (plain JSON values), and binaries of float16 tensors by name: "tensors", and one for each of
        ``meta["others"]``: "control", "run1", ... A tensor says where it lies: file (if not "tensors"), offset, shape.
    """
    main = _Tensors()
    about = provenance(seen)
    levels = {name: _level(level, main) for name, level in seen.trace.items()}
    others, files = [], []
    if control and levels and all(level.features is not None for level in seen.trace.values()):
        entry, file = _control(seen, levels)
        others.append(entry)
        files.append(file)
    for number, run in enumerate(seen.beside, start=1):
        entry, file = _run(run, f"run{number}")
        others.append(entry)
        files.append(file)
    box = seen.trace.letterbox
    height, width = seen.picture.pixels.shape[:2]
    meta = {
        "version": VERSION,
        "picture": {"name": seen.picture.name, "width": width, "height": height, "digest": about["picture_sha256"]},
        "pair": {
            "name": seen.card.name,
            "title": seen.card.title,
            "note": seen.card.note,
            "member": seen.member,
            "untrained": seen.untrained,
            "memorised": seen.card.memorised,
            "task": seen.task,
            "baseline": "YOLO26",
            "halo": "YOLO26 + HaloAttention",
            "weights": about["weights"],
        },
        "settings": about["settings"],
        "milliseconds": {k: round(v, 1) for k, v in seen.milliseconds.items()},
        "input": {
            "width": box.input_width,
            "height": box.input_height,
            "left": box.left,
            "top": box.top,
            "new_width": box.new_width,
            "new_height": box.new_height,
        },
        "colormaps": {name: colormap_hex(name) for name in COLOUR_MAPS},
        "diverging": colormap_hex(DIVERGING),
        "palette": list(PALETTE),
        "detections": {"baseline": boxes(seen.baseline), "halo": boxes(seen.halo)},
        "matches": [asdict(m) for m in seen.matches],
        "levels": levels,
        "global": {
            who: {name: _global(trace, main) for name, trace in layers.items()}
            for who, layers in seen.global_attention.items()
        },
        "others": others,
        "answers": [{"name": a.name, "where": list(a.where), "region": list(a.region)} for a in seen.answers],
        "provenance": about,
    }
    return meta, {file.file: file.joined() for file in (main, *files)}


def boxes(found: Detections) -> list[dict]:
    """Detections as JSON values."""
    out = []
    for i in range(len(found)):
        polygon = None
        if found.polygons is not None:
            points = found.polygons[i]
            polygon = points[:: max(1, -(-len(points) // POLYGON_POINTS))].round(1).tolist()
        query = dict(zip(("level", "y", "x"), found.queries[i], strict=True)) if found.queries else None
        out.append(
            {
                "xyxy": found.xyxy[i].astype(float).round(3).tolist(),
                "conf": round(float(found.conf[i]), 5),
                "cls": int(found.cls[i]),
                "name": found.name(i),
                "query": query,
                "polygon": polygon,
            }
        )
    return out


def _level(level: LevelTrace, tensors: _Tensors, maps: bool = True) -> dict:
    """A halo level; `maps` brings along blocks and received attention, which the explorer could make itself."""
    grid = level.grid
    arrays = {
        "q": level.q,
        "k": level.k,
        "norm": level.norm,
        "rel_height": level.rel_height,
        "rel_width": level.rel_width,
    }
    if maps:
        overview = level.overview(OF)
        for of, suffix in zip(OF, ("", "_contribution"), strict=True):
            arrays["blocks" + suffix], arrays["received" + suffix] = overview[of]
    return {
        "height": grid.height,
        "width": grid.width,
        "stride": level.stride,
        "block_size": grid.block_size,
        "halo_size": grid.halo_size,
        "heads": level.heads,
        "dim_head": level.q.shape[3],
        "scale": level.scale,
        "mask": level.mask,
        "adds_nothing": level.adds_nothing,
        "tensors": {name: tensors.add(array) for name, array in arrays.items()},
    }


def _control(seen: Seen, levels: dict[str, dict]) -> tuple[dict, _Tensors]:
    """The same layers with random queries and keys; norms and positions are those of the main file."""
    file = _Tensors("control")
    out = {}
    for name, level in seen.trace.items():
        random, same = level.randomised(CONTROL_SEED), levels[name]["tensors"]
        tensors = {"q": file.add(random.q), "k": file.add(random.k)}
        out[name] = levels[name] | {
            "tensors": tensors | {key: same[key] for key in ("norm", "rel_height", "rel_width")}
        }
    about = {"id": "control", "kind": "control", "title": "control", "file": "control", "seed": CONTROL_SEED}
    return about | {"levels": out, "detections": None, "matches": None}, file


def _run(run: Beside, name: str) -> tuple[dict, _Tensors]:
    """Another halo model on the same picture."""
    file = _Tensors(name)
    return {
        "id": name,
        "kind": "run",
        "title": run.title,
        "file": name,
        "pair": run.pair,
        "member": run.member,
        "weights": run.weights,
        "levels": {key: _level(level, file, maps=False) for key, level in run.trace.items()},
        "detections": boxes(run.detections),
        "matches": [asdict(m) for m in run.matches],
    }, file


def _global(trace: GlobalTrace, tensors: _Tensors) -> dict:
    height, width, heads, key_dim = trace.q.shape
    return {
        "height": height,
        "width": width,
        "stride": trace.stride,
        "heads": heads,
        "key_dim": key_dim,
        "scale": trace.scale,
        "tensors": {"q": tensors.add(trace.q), "k": tensors.add(trace.k)},
    }
