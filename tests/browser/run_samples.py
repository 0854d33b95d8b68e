"""Runs as a store shows them, made up in a realistic way, and a site that shows the run view on plain pages."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from demo.run_view.run_view import FOLDER, glue, scripts

REPOSITORY = Path(__file__).parent.parent.parent
PICTURE = REPOSITORY / "assets" / "examples" / "meadow-5.jpg"
NOW = 1_763_850_000.0
GAINS = {"baseline": (0.71, 0.36), "halo": (0.86, 0.47)}  # mAP50, mAP50-95 that the curves tend to


def curves(member: str, epochs: int, seed: int = 0, seconds: bool = True) -> dict[str, list]:
    """Curves of a member after some epochs: losses fall, mAP rises, the learning rate warms up and falls linearly."""
    rng = np.random.default_rng([seed, len(member)])
    top, strict = GAINS.get(member, (0.6, 0.3))
    rows: dict[str, list] = {
        k: [] for k in ("epoch", "loss", "box", "cls", "dfl", "val_loss", "mAP50", "mAP50-95", "lr")
    }
    rows |= {"images_per_s": []} | ({"seconds": []} if seconds else {})
    for n in range(1, epochs + 1):
        box, cls, dfl = (base * math.exp(-n / 9) + low for base, low in ((1.1, 0.9), (2.8, 0.62), (0.4, 0.8)))
        noise = 1 + 0.02 * rng.standard_normal()
        rows["epoch"].append(n)
        for name, value in (("box", box), ("cls", cls), ("dfl", dfl)):
            rows[name].append(round(value * noise, 5))
        rows["loss"].append(round((box + cls + dfl) * noise, 6))
        rows["val_loss"].append(round((box + cls + dfl) * (1.06 + 0.03 * rng.standard_normal()), 6))
        learned = 1 - math.exp(-n / 6)
        rows["mAP50"].append(round(max(0.0, top * learned + 0.012 * rng.standard_normal()), 5))
        rows["mAP50-95"].append(round(max(0.0, strict * learned + 0.009 * rng.standard_normal()), 5))
        rows["lr"].append(round(0.001 * min(1, n / 3) * (1 - 0.95 * (n - 1) / 29), 8))
        rows["images_per_s"].append(round(31.2 + rng.standard_normal(), 2))
        if seconds:
            rows["seconds"].append(round(12.6 + 0.4 * rng.standard_normal(), 2))
    return rows


def snapshot(run: str = "20261122-meadow-4f2a", **changes: Any) -> dict[str, Any]:
    """A run in flight: the baseline has its 30 epochs, the halo model is in its 18th."""
    return {
        "id": run, "title": "meadow, halo layers and head", "note": "", "state": "running", "queue": None,
        "made": NOW - 900, "plan": {"data": "meadow"},
        "members": [
            {"name": "baseline", "form": "baseline", "status": "done", "epochs_done": 30, "epochs": 30,
             "curves": curves("baseline", 30)},
            {"name": "halo", "form": "residual", "status": "training", "epochs_done": 17, "epochs": 30,
             "curves": curves("halo", 17)},
        ],
        "progress": {
            "member": "halo", "members": ["baseline", "halo"], "stage": 0, "stages": 1, "epoch": 18, "epochs": 30,
            "batch": 17, "batches": 51, "images_per_s": 31.2, "memory_gb": 1.21, "device": "cpu", "phase": "training",
            "done": 0.789, "elapsed_s": 601.4, "left_s": 160.2, "losses": {"box": 1.05, "cls": 1.0, "dfl": 0.85},
        },
        "error": None,
        "log": "\n".join(log_lines(17)),
        "load": {"cpu": 96.2, "memory": 41.0, "gpu": None},
        "attention": {"members": {"baseline": 31, "halo": 18}, "version": 48211},
        "comparison": None, "warnings": [], "actions": ["stop", "stop_now", "kill"],
    } | changes  # fmt: skip


def later(epochs: int = 18, **progress: object) -> dict:
    """The run in flight, a while later."""
    snap = snapshot()
    snap["members"][1] |= {"curves": curves("halo", epochs), "epochs_done": epochs}
    snap["progress"] |= progress
    return snap


def log_lines(epochs: int) -> list[str]:
    """What a training prints."""
    head = "      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size"
    lines = ["Ultralytics 8.4.190 Python-3.11.2 torch-2.15.0 CPU", "optimizer: AdamW(lr=0.001, momentum=0.9)"]
    for n in range(1, epochs + 1):
        losses = "".join(f"      {start / n + low:.4g}" for start, low in ((1.1, 0.9), (2.8, 0.6), (0.4, 0.8)))
        lines += [head, f"      {n}/30         0G{losses}         57        320: 100% 51/51 4.1it/s 12.5s"]
    return lines


def finished(run: str = "20261122-meadow-4f2a", **changes: Any) -> dict[str, Any]:
    """The same run at its end, measured on the test split."""
    names = ["baseline", "halo"]
    members = [
        {"name": name, "form": form, "status": "done", "epochs_done": 30, "epochs": 30, "curves": curves(name, 30)}
        for name, form in zip(names, ("baseline", "residual"), strict=True)
    ]
    compared = {
        "members": [
            {"name": "baseline", "form": "baseline", "mAP50": 0.7043, "mAP50-95": 0.3581, "parameters": 2572280,
             "latency_ms": 21.48, "epochs": 30, "trained": "all", "per_class": {
                 "bee": {"mAP50": 0.9712, "mAP50-95": 0.5123}, "visited": {"mAP50": 0.5604, "mAP50-95": 0.2811},
                 "alone": {"mAP50": 0.5813, "mAP50-95": 0.2809}}},
            {"name": "halo", "form": "residual", "mAP50": 0.8619, "mAP50-95": 0.4702, "parameters": 2857336,
             "latency_ms": 27.91, "epochs": 30, "trained": "halo+head", "per_class": {
                 "bee": {"mAP50": 0.9698, "mAP50-95": 0.5177}, "visited": {"mAP50": 0.8088, "mAP50-95": 0.4451},
                 "alone": {"mAP50": 0.8071, "mAP50-95": 0.4478}}},
        ],
        "split": "test", "pictures": 200, "imgsz": 320, "device": "cpu",
    }  # fmt: skip
    done = snapshot()["progress"] | {"epoch": 30, "done": 1.0, "elapsed_s": 762.9, "left_s": 0.0, "phase": "measuring"}
    return snapshot(run) | {
        "state": "finished", "members": members, "progress": done, "comparison": compared,
        "attention": {"members": {"baseline": 31, "halo": 31}, "version": 90001},
        "actions": ["open", "retry", "delete"],
    } | changes  # fmt: skip


def probe(width: int = 320, height: int = 320, imgsz: int = 320) -> dict[str, Any]:
    """probe.json of a picture, in the middle of it."""
    scale = imgsz / max(width, height)
    return {
        "picture": "probe.png", "width": width, "height": height, "query": {"y": height * 0.55, "x": width * 0.47},
        "letterbox": {"scale": scale, "left": (imgsz - width * scale) / 2, "top": (imgsz - height * scale) / 2},
        "imgsz": [imgsz, imgsz], "strides": {"P3": 8, "P4": 16, "P5": 32, "layer10": 32, "layer22": 32},
        "names": {"0": "bee", "1": "visited", "2": "alone"},
    }  # fmt: skip


def level(about: dict, name: str, sharp: float, heads: int, seed: int = 0) -> dict[str, Any]:
    """A level's row: a softmax around a place that attention finds as the model learns."""
    stride = about["strides"][name]
    size = [side // stride for side in about["imgsz"]]
    box = about["letterbox"]
    y = int((about["query"]["y"] * box["scale"] + box["top"]) // stride)
    x = int((about["query"]["x"] * box["scale"] + box["left"]) // stride)
    if name.startswith("P"):
        by, bx = y // 8 * 8, x // 8 * 8
        y0, x0, rows, cols = by - 3, bx - 3, 14, 14
        block = [by, bx, min(by + 8, size[0]), min(bx + 8, size[1])]
    else:
        (y0, x0), (rows, cols), block = (0, 0), size, None
    i, j = np.mgrid[y0 : y0 + rows, x0 : x0 + cols]
    inside = (i >= 0) & (j >= 0) & (i < size[0]) & (j < size[1])
    rng = np.random.default_rng([seed, stride])
    found = []
    for head in range(heads):
        goal = (y - 3 + head, x + 4 - 2 * head)
        logits = sharp * np.exp(-((i - goal[0]) ** 2 + (j - goal[1]) ** 2) / 5) * 3.4 + 0.5 * rng.standard_normal(
            i.shape
        )
        weights = np.where(inside, np.exp(logits), 0)
        found.append(weights / weights.sum())
    weights = np.stack([np.mean(found, 0), *found]).astype("<f2")
    return {
        "y": y, "x": x, "h": size[0], "w": size[1], "y0": y0, "x0": x0, "rows": rows, "cols": cols, "heads": heads,
        "weights": base64.b64encode(weights.tobytes()).decode(), "uniform": 1 / int(inside.sum()), "block": block,
    }  # fmt: skip


def frames(about: dict, member: str, epochs: int) -> list[dict]:
    """attention/<member>.jsonl from before the training to some epoch."""
    maps = [None, *curves(member, max(1, epochs))["mAP50"]]
    heads = {"layer10": 2, "layer22": 2} | ({"P3": 2, "P4": 4, "P5": 8} if member == "halo" else {})
    out = []
    for n in range(epochs + 1):
        sharp = 1 - math.exp(-n / 6)
        boxes = [[150.2, 141.0, 188.7, 180.4, round(0.3 + 0.55 * sharp, 3), 1], [207.1, 96.3, 230.8, 118.9, 0.41, 0]]
        out.append({"epoch": n, "mAP50": maps[n], "levels": {k: level(about, k, sharp, v) for k, v in heads.items()},
                    "boxes": boxes[: min(2, n // 3)]})  # fmt: skip
    return out


def lines(found: list[dict]) -> bytes:
    """Frames as the file that holds them."""
    return "".join(json.dumps(frame) + "\n" for frame in found).encode()


def page(lang: str = "en", theme: str = "light") -> bytes:
    """A plain page with the run view mounted; ``show(value)`` shows a value."""
    markup = (FOLDER / "run_view.html").read_text(encoding="utf-8")
    markup = markup.replace('class="halo-runs"', f'class="halo-runs" data-theme="{theme}"', 1)
    back = {"light": "#ffffff", "dark": "#0d1117"}[theme]
    # As Gradio does it: a function with element, props and watch, whose body is js_on_load.
    script = f"{scripts()}\n{glue()}".replace("</script", "<\\/script")
    return f"""<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><title>HaloVis</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ margin: 16px; background: {back}; color-scheme: {theme}; }} main {{ max-width: 1100px; margin: 0 auto; }}
h1 {{ font: 600 1.1rem system-ui; color: {"#1f2328" if theme == "light" else "#e6edf3"}; }}
{(FOLDER / "run_view.css").read_text(encoding="utf-8")}</style></head>
<body><main><h1>HaloVis</h1>{markup}</main>
<script>
const props = {{ value: null }};
const watchers = [];
const watch = (name, work) => watchers.push(work);
window.show = (value) => {{ props.value = value; for (const work of watchers) work(); }};
window.start = (element) => {{
{script}
}};
start(document.querySelector("main"));
</script></body></html>
""".encode()
