"""Small random models and pictures: untrained, but with every weight and statistic away from its start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn
from ultralytics import YOLO

from halo_vis import Inspection
from halo_vis.attention import HaloAttention
from halo_vis.picture import Picture
from halo_vis.transplant import Architecture, build

NAMES = {0: "bee", 1: "visited", 2: "alone"}
LAYERS = {"P3": 17, "P4": 21, "P5": 25}  # halo layers of the stock model grown at all three levels


@torch.no_grad()
def random_model(form: str = "residual", like: tuple[int, int] = (150, 160), **architecture: object) -> YOLO:
    """A model that detects something everywhere: halo layers that look around, spread-out scores.

    Its statistics are those of pictures of size `like`; on others activations may grow, as in any untrained network.
    """
    torch.manual_seed(0)
    yolo = build(Architecture(form=form, nc=len(NAMES), **architecture), NAMES)
    head = yolo.model.model[-1]
    for module in yolo.model.modules():
        if isinstance(module, HaloAttention):
            for parameter in module.parameters():
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
            module.to_q.weight *= 0.15  # uneven rows, but logits of tens as trained layers have, not of hundreds
    for boxes, classes in ((head.cv2, head.cv3), (head.one2one_cv2, head.one2one_cv3)):
        for last_boxes, last_classes in zip(boxes, classes, strict=True):
            last_boxes[-1].weight *= 0.5
            last_classes[-1].weight.normal_(0, 0.06)
            last_classes[-1].bias.normal_(-0.7, 0.3)
    # Statistics of real activations, or the signal would be gone after a few layers and every cell look the same.
    norms = [m for m in yolo.model.modules() if isinstance(m, nn.BatchNorm2d)]
    usual = norms[0].momentum
    for module in norms:
        module.weight.uniform_(0.8, 1.2)
        module.bias.normal_(0, 0.1)
        module.momentum = 1.0
    height, width = like
    photos = np.full((4, -(-height // 32) * 32, -(-width // 32) * 32, 3), 114, np.uint8)  # in the letterbox's grey
    top, left = (photos.shape[1] - height) // 2, (photos.shape[2] - width) // 2
    photos[:, top : top + height, left : left + width] = [picture(*like, n) for n in range(4)]
    yolo.model.train()(torch.from_numpy(photos).permute(0, 3, 1, 2) / 255)
    for module in norms:
        module.momentum = usual
    yolo.model.eval()
    yolo.ckpt = {"model": yolo.model}
    return yolo


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 RGB: ripples and noise; all alike in their statistics, no two places the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    phases = rng.uniform(0, 6.3, 6)
    ripples = [np.sin(y / (4 + n) + x / (7 - n) + phases[n]) for n in range(3)]
    bands = 1 + 0.5 * np.sin(y / 23 + phases[3])[..., None] * np.sin(x / 31 + phases[4])[..., None]
    noise = rng.normal(0, 25, (height, width, 3))
    return (np.stack(ripples, -1) * 60 * bands + 128 + noise).clip(0, 255).astype(np.uint8)


HOSTILE = "</script><!--<img src=x onerror=\"alert('1')\">${alert(2)} $x^2$ {{3}} \u2028 图片.png"


def hostile(seen: Inspection) -> Inspection:
    """The same inspection, with words in it that are code for one reader or another."""
    names = dict.fromkeys(NAMES, HOSTILE)
    return replace(
        seen,
        picture=Picture(seen.picture.pixels, HOSTILE),
        card=replace(seen.card, title=HOSTILE, note=HOSTILE),
        baseline=replace(seen.baseline, names=names),
        halo=replace(seen.halo, names=names),
    )
