"""Measure how long a step takes: ``python -m halo_vis.training.measure``, a plan in, figures out.

It reads {"plan": ..., "names": n} as JSON and prints a line of JSON:
{"device", "threads", "load_s", "members": {member: {"batch_s", "step_s", "picture_s", "forward_s", "save_s"}}}: seconds
of a batch forth and back, of an optimizer's step, of a validation picture, of a forward pass for one picture, of what
comes with every epoch, of starting a member. The optimizer is the real one (MuSGD's step takes several times AdamW's),
the pictures are noise: what is drawn on them changes nothing about the time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from ultralytics.utils import NUM_THREADS
from ultralytics.utils.torch_utils import ModelEMA, select_device

from halo_vis.attention import HaloAttention
from halo_vis.training.plan import Plan
from halo_vis.transplant import Architecture, build

REPEATS = 3
LOAD_S = 4.0  # to read data and build what a member needs, beside what is measured here
BOXES = 8  # objects in a picture


def main() -> int:
    """Read, measure, print."""
    given = json.load(sys.stdin)
    plan = Plan.from_dict(given["plan"])
    device = select_device(plan.device, verbose=False)
    threads = 0 if device.type == "cuda" else plan.threads or NUM_THREADS
    if threads:
        torch.set_num_threads(threads)
    begun = time.monotonic()
    members = {name: measure(plan, form, device, given["names"]) for name, form in plan.members.items()}
    built = (time.monotonic() - begun) / len(members)
    facts = {"device": str(device), "threads": threads, "load_s": LOAD_S + 0.2 * built, "members": members}
    print(json.dumps(facts))
    return 0


def measure(plan: Plan, form: str, device: torch.device, names: int) -> dict[str, float]:
    """Seconds of the parts of a member's epoch."""
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils import DEFAULT_CFG, IterableSimpleNamespace

    yolo = build(Architecture(plan.scale, form=form, nc=names, mask=plan.mask, **_halo(plan)))
    model = yolo.model.to(device).train()
    for i, layer in enumerate(model.model):
        head = i == len(model.model) - 1
        wanted = plan.trained == "all" or isinstance(layer, HaloAttention) or (plan.trained == "halo+head" and head)
        layer.requires_grad_(wanted)
    model.args = IterableSimpleNamespace(**vars(DEFAULT_CFG))
    # The trainer's own way to an optimizer, of which it uses nothing but these arguments.
    maker = DetectionTrainer.__new__(DetectionTrainer)
    maker.args, maker.data = model.args, {"nc": names}
    trainable = any(p.requires_grad for p in model.parameters())
    optimizer = maker.build_optimizer(model, plan.optimizer, plan.lr0, plan.momentum, plan.weight_decay, 1000)
    ema = ModelEMA(model)
    batch = _batch(plan, device, names)

    def forth_and_back() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss, _ = model(batch)
        if trainable:
            loss.sum().backward()

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=10.0)
        if trainable:
            optimizer.step()
        optimizer.zero_grad()
        ema.update(model)

    pictures = batch["img"][: max(1, min(4, plan.batch))]

    def validate() -> None:
        with torch.no_grad():
            ema.ema(pictures)

    forth_and_back()  # warm
    forward, stepped = [], []
    for _ in range(REPEATS):
        forward.append(_seconds(forth_and_back, device))
        stepped.append(_seconds(step, device))
    val = median(_seconds(validate, device) for _ in range(REPEATS)) / len(pictures)
    saved = (
        _seconds(lambda: torch.save(optimizer.state_dict(), "/dev/null"), device) if sys.platform == "linux" else 0.1
    )
    return {
        "batch_s": median(forward),
        "step_s": median(stepped),
        "forward_s": val,
        "picture_s": val * 1.3,  # NMS and matching come on top of the forward pass
        "save_s": 0.3 + 2 * saved + val,  # the checkpoint, the probe
    }


def _halo(plan: Plan) -> dict:
    return {name: value for name, value in plan.geometry().items() if name != "mask"}


def _batch(plan: Plan, device: torch.device, names: int) -> dict[str, torch.Tensor]:
    """A batch of noise with boxes, as the loss takes it."""
    generator = torch.Generator().manual_seed(0)
    count = plan.batch * BOXES
    return {
        "img": torch.rand(plan.batch, 3, plan.imgsz, plan.imgsz, generator=generator).to(device),
        "cls": torch.randint(names, (count, 1), generator=generator).float().to(device),
        "bboxes": (torch.rand(count, 4, generator=generator) * 0.3 + 0.3).to(device),
        "batch_idx": torch.arange(plan.batch).repeat_interleave(BOXES).float().to(device),
    }


def _seconds(do: Callable[[], object], device: torch.device) -> float:
    """Wall time of a call, the GPU's work included."""
    begun = time.perf_counter()
    do()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
