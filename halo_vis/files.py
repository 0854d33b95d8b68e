"""An inspection as files in a folder: for papers, for other programs, for a browser."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from halo_vis.render import LARGEST_TIMES_UNIFORM, attention_sheet, side_by_side
from halo_vis.seen import Seen, provenance
from halo_vis.single import html
from halo_vis.viewer import boxes


def save(seen: Seen, folder: Path) -> list[Path]:
    """Write all files of an inspection; see README, "Files"."""
    folder.mkdir(parents=True, exist_ok=True)
    about = provenance(seen)
    files = [_png(folder / "side_by_side.png", side_by_side(seen), about)]
    for name in seen.trace:
        shown = {
            "level": name,
            "view": "blocks, received",
            "head": "mean",
            "of": "weight",
            "scale": LARGEST_TIMES_UNIFORM,
        }
        files.append(_png(folder / f"attention_{name}.png", attention_sheet(seen, name), about | {"figure": shown}))
    files.append(_trace(folder / "trace.npz", seen, about))
    found = {
        "baseline": boxes(seen.baseline),
        "halo": boxes(seen.halo),
        "matches": [asdict(m) for m in seen.matches],
        "provenance": about,
    }
    for name, text in (("detections.json", _json(found, indent=1) + "\n"), ("explorer.html", html(seen, lang=None))):
        (folder / name).write_text(text, encoding="utf-8")
        files.append(folder / name)
    return files


def _json(value: dict, indent: int | None = None) -> str:
    """JSON that any file takes: a file name may hold bytes that are no text."""
    return json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "replace").decode()


def _png(path: Path, pixels: np.ndarray, about: dict) -> Path:
    info = PngInfo()
    info.add_itxt("halo_vis", _json(about))
    Image.fromarray(pixels).save(path, pnginfo=info)
    return path


def _trace(path: Path, seen: Seen, about: dict) -> Path:
    """Everything that the rows are computed from, and the received maps; names are LEVEL.ARRAY."""
    arrays: dict[str, np.ndarray] = {"provenance": np.array(_json(about))}
    box = seen.trace.letterbox
    arrays["letterbox"] = np.array([box.photo_height, box.photo_width, box.input_height, box.input_width,
                                    box.new_height, box.new_width, box.top, box.left])  # fmt: skip
    for name, level in seen.trace.items():
        grid = level.grid
        geometry = (grid.height, grid.width, grid.block_size, grid.halo_size, level.stride)
        arrays |= {
            f"{name}.q": level.q,
            f"{name}.k": level.k,
            f"{name}.norm": level.norm,
            f"{name}.rel_height": level.rel_height,
            f"{name}.rel_width": level.rel_width,
            f"{name}.scale": np.float64(level.scale),
            f"{name}.geometry": np.array(geometry),
            f"{name}.mask": np.array(level.mask),
            f"{name}.received": level.received(),
            f"{name}.blocks": level.blocks(),
        }
    for who, layers in seen.global_attention.items():
        for name, trace in layers.items():
            arrays |= {
                f"{who}.{name}.q": trace.q,
                f"{who}.{name}.k": trace.k,
                f"{who}.{name}.scale": np.float64(trace.scale),
            }
    np.savez_compressed(path, **arrays)
    return path
