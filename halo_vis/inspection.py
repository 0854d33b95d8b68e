"""inspect(pair, picture): one picture through both models, with everything that a viewer, a file or a test needs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from PIL import Image
from ultralytics import YOLO
from ultralytics.engine.results import Results

from halo_vis import files, single
from halo_vis.answers import known_answers
from halo_vis.detections import Detections, match
from halo_vis.geometry import Answer
from halo_vis.memory_format import channels_last
from halo_vis.pairs import Pair
from halo_vis.picture import Picture, read_picture
from halo_vis.predictors import SharedInput, has_predictor, predictor_for
from halo_vis.seen import Beside, Seen, Settings, default_device
from halo_vis.trace import Trace, capture

if TYPE_CHECKING:
    from halo_vis.view import View


@dataclass(frozen=True, eq=False)
class Inspection(Seen):
    """One picture seen by both models; its fields are those of :class:`halo_vis.seen.Seen`."""

    def save(self, folder: str | Path) -> list[Path]:
        """Write side_by_side.png, attention_P*.png, trace.npz, detections.json and the viewer's files; returns them."""
        return files.save(self, Path(folder))

    def explore(self, view: View | None = None, height: int = single.HEIGHT, control: bool = False) -> single.Explorer:
        """The explorer, in a notebook or as one HTML file: ``seen.explore()``, ``seen.explore().save("bus.html")``.

        Args:
            view: what it shows first; None: the strongest detection.
            height: of its frame in a notebook, CSS pixels.
            control: bring along the control with random queries and keys; the explorer is half as large again with it.
        """
        return single.explorer(self, view, height, control)

    def _repr_html_(self) -> str:
        """A notebook shows an inspection as its explorer."""
        return self.explore()._repr_html_()

    def with_beside(self, other: Inspection) -> Inspection:
        """The same inspection with the halo model of another one beside it, to compare the two cell by cell.

        Args:
            other: an inspection of the same picture at the same image size, by any pair, member or checkpoint.

        Raises:
            ValueError: the pictures differ, or where they lie in the models' input does.
        """
        mine, others = self.picture.digest, other.picture.digest
        if mine != others:
            raise ValueError(
                f"with_beside needs the same picture: this is {self.picture.name!r} (sha256 {mine[:12]}), the other "
                f"{other.picture.name!r} ({others[:12]}). Inspect the same picture with the other pair."
            )
        if self.trace.letterbox != other.trace.letterbox:
            raise ValueError(
                f"with_beside needs the same letterbox: this is {self.trace.letterbox}, the other "
                f"{other.trace.letterbox}. Inspect again with imgsz={self.settings.imgsz}."
            )
        run = Beside(
            title=f"{other.card.title}, {other.member}",
            pair=other.card.name,
            member=other.member,
            weights=other.card.members.get(other.member, {}).get("sha256", ""),
            trace=other.trace,
            detections=other.halo,
            matches=match(other.halo, self.halo),
        )
        return replace(self, beside=(*self.beside, run))


def inspect(
    pair: Pair,
    picture: str | Path | Image.Image | np.ndarray | Picture,
    conf: float = 0.25,
    imgsz: int | None = None,
    *,
    iou: float = 0.7,
    head: str = "one-to-many",
    device: str | None = None,
    answers: Iterable[Answer] | None = None,
) -> Inspection:
    """Run both models of a pair on one picture and capture their attention.

    Args:
        picture: a path, a PIL image, or (H, W, 3) uint8 RGB.
        conf, iou: confidence and NMS thresholds.
        imgsz: longer side of the model's input, a multiple of 32; None: the size on the pair's card.
        head: "one-to-many" or "NMS-free".
        device: None: CUDA if there is one, else MPS, else the CPU.
        answers: where it is known where to look, photo pixels; None: known of held-out meadow scenes, else nowhere.

    Raises:
        ValueError: a setting out of range (PictureError, a ValueError too, for the picture).
    """
    settings = Settings(conf, iou, pair.card.imgsz if imgsz is None else imgsz, head, device or default_device())
    picture = read_picture(picture)
    pixels = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2BGR)  # as Ultralytics takes arrays
    with pair.lock:
        (baseline, baseline_trace, baseline_ms), (halo, halo_trace, halo_ms) = _both(pair, pixels, settings)
    return Inspection(
        picture=picture,
        card=pair.card,
        member=pair.member,
        untrained=pair.untrained,
        task=pair.halo.task,
        settings=settings,
        baseline=baseline,
        halo=halo,
        trace=halo_trace,
        global_attention={"baseline": baseline_trace.global_attention, "halo": halo_trace.global_attention},
        matches=match(baseline, halo),
        milliseconds={"baseline": baseline_ms, "halo": halo_ms},
        answers=known_answers(picture) if answers is None else tuple(answers),
    )


Predicted = tuple[Detections, Trace, float]  # and milliseconds


def _both(pair: Pair, pixels: np.ndarray, settings: Settings) -> tuple[Predicted, Predicted]:
    """What both models predict: side by side where there are cores for both. The caller holds the pair's lock."""
    shared = SharedInput()
    if not _cores_for_both(pair, settings):
        return _predict(pair.baseline, pixels, settings, shared), _predict(pair.halo, pixels, settings, shared)
    with ThreadPoolExecutor(1, "baseline") as beside:
        baseline = beside.submit(_predict, pair.baseline, pixels, settings, shared)
        halo = _predict(pair.halo, pixels, settings, shared)
        return baseline.result(), halo


def _cores_for_both(pair: Pair, settings: Settings) -> bool:
    """Whether the models can run side by side without one slowing the other down.

    On the CPU Ultralytics has torch leave one core alone: on two, one idles while a model runs. A first predict, which
    copies and fuses the model, is done by itself.
    """
    if settings.device != "cpu" or pair.baseline is pair.halo:
        return False
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    known = all(has_predictor(yolo, settings.device, _nms(settings)) for yolo in (pair.baseline, pair.halo))
    return known and 2 * torch.get_num_threads() <= cores


def _nms(settings: Settings) -> bool | None:
    """Ultralytics' name for the choice of the head."""
    return False if settings.head == "NMS-free" else None


def _predict(yolo: YOLO, pixels: np.ndarray, settings: Settings, shared: SharedInput) -> Predicted:
    """One model's detections and trace. The caller holds the pair's lock."""
    with predictor_for(yolo, settings.device, _nms(settings)), capture(yolo) as captured, shared.by(yolo):
        result = yolo.predict(
            pixels,
            conf=settings.conf,
            iou=settings.iou,
            imgsz=settings.imgsz,
            device=settings.device,
            channels_last=channels_last(settings.device),
            nms=_nms(settings),
            verbose=False,
            save=False,
        )[0]
    trace = captured.traces[0]
    spent = result.speed["inference"] + result.speed["postprocess"] + shared.milliseconds
    return replace(_detections(result), queries=trace.queries), trace, spent


def _detections(result: Results) -> Detections:
    boxes = result.boxes.cpu().numpy()
    polygons = None
    if result.masks is not None:
        polygons = tuple(np.asarray(p, np.float32) for p in result.masks.xy)
    return Detections(
        xyxy=boxes.xyxy.astype(np.float32),
        conf=boxes.conf.astype(np.float32),
        cls=boxes.cls.astype(np.int64),
        names=dict(result.names),
        polygons=polygons,
    )
