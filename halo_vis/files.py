"""An inspection as files in a folder: for papers, for other programs, for a browser."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from halo_vis import __version__
from halo_vis.render import attention_sheet, side_by_side
from halo_vis.seen import Seen
from halo_vis.viewer import boxes, payload


def save(seen: Seen, folder: Path) -> list[Path]:
    """Write all files of an inspection; see README, "Files"."""
    folder.mkdir(parents=True, exist_ok=True)
    meta, tensors = payload(seen)
    about = provenance(seen)
    files = [_png(folder / "side_by_side.png", side_by_side(seen), about)]
    files += [_png(folder / f"attention_{name}.png", attention_sheet(seen, name), about) for name in seen.trace]
    files.append(_trace(folder / "trace.npz", seen, about))
    found = {
        "baseline": boxes(seen.baseline),
        "halo": boxes(seen.halo),
        "matches": meta["matches"],
        "provenance": about,
    }
    for name, text in (("detections.json", found), ("explorer.json", meta | {"provenance": about})):
        (folder / name).write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        files.append(folder / name)
    (folder / "explorer.bin").write_bytes(tensors)
    picture = folder / "picture.png"
    Image.fromarray(seen.picture.pixels).save(picture)
    return [*files, folder / "explorer.bin", picture]


def provenance(seen: Seen) -> dict:
    """Where a result comes from: enough to make it again."""
    s = seen.settings
    return {
        "halo_vis": __version__,
        "picture": seen.picture.name,
        "picture_sha256": seen.picture.digest,
        "pair": seen.card.name,
        "member": seen.member,
        "weights": {k: v.get("sha256", "") for k, v in seen.card.members.items()},
        "untrained": seen.untrained,
        "note": seen.card.note,
        "settings": {"conf": s.conf, "iou": s.iou, "imgsz": s.imgsz, "head": s.head, "device": s.device},
    }


def _png(path: Path, pixels: np.ndarray, about: dict) -> Path:
    info = PngInfo()
    info.add_itxt("halo_vis", json.dumps(about, ensure_ascii=False))
    Image.fromarray(pixels).save(path, pnginfo=info)
    return path


def _trace(path: Path, seen: Seen, about: dict) -> Path:
    """Everything that the rows are computed from, and the received maps; names are LEVEL.ARRAY."""
    arrays: dict[str, np.ndarray] = {"provenance": np.array(json.dumps(about, ensure_ascii=False))}
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
