"""Does attention fall where the answer lies? Scored on meadow scenes, where the place to look is known.

For a visited flower the class can only be told from its bee. At the flower's centre cell of every level this measures
the share of the row that falls on the bee's cells, divided by the bee's share of the valid cells of the window (1: as
much as an even spread). It is measured for weights and for contributions, per head, trained and with q and k
randomised (random projections respond to whatever stands out: what mere salience would give), and it is printed as it
comes out. Whether the halo branch is used at all is a separate question, answered by ablating it.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from halo_vis import meadow
from halo_vis.attention import HaloAttention
from halo_vis.maps import OF, LevelTrace
from halo_vis.pairs import Pair
from halo_vis.rows import on_times_uniform
from halo_vis.trace import capture


@dataclass(frozen=True)
class Score:
    """Result of :func:`score_meadow`.

    Attributes:
        ratios: {(kind, level, of, head): (mean ratio, number of flowers)}; kind "trained" or "random"; head None is all
            heads together.
        map50: mAP50 of "baseline", "halo", and "halo ablated" (its halo branch at zero; for the article's form the
            layer is replaced by the identity), each over all classes.
    """

    pair: str
    member: str
    scenes: int
    ratios: dict[tuple[str, str, str, int | None], tuple[float, int]]
    map50: dict[str, float]


def score_meadow(pair: Pair, scenes: int = 200, seed: int = 0) -> Score:
    """Score a pair on held-out scenes 0 ... scenes - 1 of the split "test".

    Raises:
        ValueError: the pair does not know the meadow's classes, or `scenes` is less than 1.
    """
    if scenes < 1:
        raise ValueError(f"scenes must be 1 or more, got {scenes}.")
    if tuple(pair.halo.names.values()) != meadow.NAMES:
        raise ValueError(
            f"pair {pair.name!r} knows {tuple(pair.halo.names.values())}, not the meadow's {meadow.NAMES}."
        )
    imgsz = pair.card.imgsz
    sums: dict[tuple, list[float]] = {}
    for kind, yolo in (("trained", pair.halo), ("random", randomised(pair.halo, seed))):
        for key, value in _ratios(yolo, scenes, imgsz):
            sums.setdefault((kind, *key), []).append(value)
    ratios = {key: (float(np.mean(values)), len(values)) for key, values in sums.items()}
    with tempfile.TemporaryDirectory() as folder:
        data = meadow.write_dataset(Path(folder), train=1, val=1, test=scenes)
        models = {"baseline": pair.baseline, "halo": pair.halo, "halo ablated": ablated(pair.halo)}
        map50 = {name: _map50(yolo, data, imgsz) for name, yolo in models.items()}
    return Score(pair.name, pair.member, scenes, ratios, map50)


def with_model(yolo: YOLO, model: nn.Module) -> YOLO:
    """The same YOLO around another model; its predictor is made anew."""
    twin = copy.copy(yolo)
    # A YOLO is itself a torch module, and a shallow copy shares the dict that its model hangs in.
    twin.__dict__["_modules"] = dict(yolo._modules)
    twin.model, twin.predictor = model, None
    return twin


def halo_layers(model: nn.Module) -> list[HaloAttention]:
    """The halo layers of a model."""
    return [m for m in model.modules() if isinstance(m, HaloAttention)]


@torch.no_grad()
def randomised(yolo: YOLO, seed: int = 0) -> YOLO:
    """A copy whose queries and keys are random projections of the same scale; values and all else as trained."""
    model = copy.deepcopy(yolo.model)
    generator = torch.Generator().manual_seed(seed)
    for layer in halo_layers(model):
        inner = layer.heads * layer.dim_head
        for weight in (layer.to_q.weight, layer.to_kv.weight[:inner]):
            weight.copy_(torch.randn(weight.shape, generator=generator) * weight.std())
    return with_model(yolo, model)


@torch.no_grad()
def ablated(yolo: YOLO) -> YOLO:
    """A copy without what the halo layers add: x + attention(x) becomes x, and so does attention(x)."""
    model = copy.deepcopy(yolo.model)
    for layer in halo_layers(model):
        layer.residual = True
        layer.to_out.weight.zero_()
        layer.to_out.bias.zero_()
    return with_model(yolo, model)


def bee_share(
    level: LevelTrace, centre: tuple[float, float], bee: np.ndarray
) -> tuple[tuple[int, int], np.ndarray] | None:
    """The query cell under a flower's centre, and which cells of its window lie on the bee.

    Args:
        centre: (y, x) of the flower, photo pixels.
        bee: its box, xyxy photo pixels; see :meth:`halo_vis.rows.Rows.on_region`.

    Returns:
        (y, x) and (window, window) bool, or None where no cell of the bee is in the window.
    """
    y, x = level.letterbox.cell_at(*centre, level.stride)
    on = level.on_region(y, x, bee)
    return None if on is None else ((y, x), on)


def _ratios(yolo: YOLO, scenes: int, imgsz: int) -> Iterator[tuple[tuple[str, str, int | None], float]]:
    """((level, of, head), ratio) for every visited flower of every scene."""
    with capture(yolo) as captured:
        for number in range(scenes):
            scene = meadow.scene(number, "test")
            yolo.predict(scene.image[..., ::-1], imgsz=imgsz, verbose=False)
            for flower, bee in enumerate(scene.visitor):
                if bee < 0:
                    continue
                x1, y1, x2, y2 = scene.xyxy[flower]
                for name, level in captured.traces[0].items():
                    found = bee_share(level, ((y1 + y2) / 2, (x1 + x2) / 2), scene.xyxy[bee])
                    if found is None:
                        continue
                    (y, x), on = found
                    inside = level.grid.inside(*level.grid.block_of(y, x))
                    for of in OF:
                        for head in (None, *range(level.heads)):
                            yield (name, of, head), on_times_uniform(level.row(y, x, head, of), on, inside)


@contextmanager
def quiet() -> Iterator[None]:
    """Ultralytics without its progress bars: the table is what was asked for."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        LOGGER.setLevel(level)


def _map50(yolo: YOLO, data: Path, imgsz: int) -> float:
    with quiet():
        result = with_model(yolo, copy.deepcopy(yolo.model)).val(
            data=str(data), split="test", imgsz=imgsz, batch=1, workers=0, plots=False, verbose=False
        )
    return float(result.box.map50)


def report(score: Score) -> str:
    """The score as a plain table."""
    lines = [
        f"pair {score.pair}, member {score.member}, {score.scenes} held-out scenes",
        "a visited flower's centre cell: share of its row on the bee / the bee's share of the window (1 = even spread)",
        f"{'level':6}{'head':6}{'flowers':>8}{'weights':>10}{'random':>10}{'contrib.':>10}{'random':>10}",
    ]
    keys = [(level, head) for kind, level, of, head in score.ratios if kind == "trained" and of == "weight"]
    for level, head in sorted(keys, key=lambda k: (k[0], -1 if k[1] is None else k[1])):
        cells = [score.ratios[kind, level, of, head] for of in OF for kind in ("trained", "random")]
        name = "all" if head is None else str(head + 1)
        lines.append(f"{level:6}{name:6}{cells[0][1]:8d}" + "".join(f"{mean:10.2f}" for mean, _ in cells))
    lines.append("mAP50: " + ", ".join(f"{name} {value:.3f}" for name, value in score.map50.items()))
    return "\n".join(lines)
