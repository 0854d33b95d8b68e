"""What Ultralytics' predictors would do again for nothing: their own set-up, and the input of a second model."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor
from ultralytics import YOLO

KEPT = 2  # predictors of a model, each with a fused copy of it: both heads on one device

_PREDICTORS: WeakKeyDictionary[YOLO, OrderedDict[tuple, Any]] = WeakKeyDictionary()


@contextmanager
def predictor_for(yolo: YOLO, device: str, nms: bool | None) -> Iterator[None]:
    """Predict inside the context with the predictor that was made for these settings before, if there is one.

    Ultralytics has one predictor a model, and builds it anew (copies and fuses the model) whenever device or head
    change; who switches to and fro would wait for that every time. A predictor that somebody else has put in place,
    or taken away, means that the model may have changed: those kept are let go.
    """
    kept = _PREDICTORS.setdefault(yolo, OrderedDict())
    if not any(yolo.predictor is one for one in kept.values()):
        kept.clear()
    key = (device, nms)
    if key in kept:
        yolo.predictor = kept[key]
    yield
    kept[key] = yolo.predictor
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)


def has_predictor(yolo: YOLO, device: str, nms: bool | None) -> bool:
    """Whether `predictor_for` has one for these settings."""
    found = _PREDICTORS.get(yolo, {}).get((device, nms))
    return found is not None and any(yolo.predictor is one for one in _PREDICTORS[yolo].values())


class SharedInput:
    """The input tensor of one picture, letterboxed once for all models that take the same, in whatever thread.

    Attributes:
        milliseconds: what making it took, which counts for each of the models.
    """

    def __init__(self) -> None:
        self.milliseconds = 0.0
        self._made: tuple[tuple, Tensor] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def by(self, yolo: YOLO) -> Iterator[None]:
        """Predicts inside the context take the tensor that is there, or leave theirs."""
        predictors = []

        def on_start(predictor: Any) -> None:
            own = predictor.preprocess

            def preprocess(pictures: Any) -> Tensor:
                key = _input_key(predictor)
                with self._lock:
                    if self._made is None or self._made[0] != key:
                        began = time.perf_counter()
                        self._made = key, own(pictures)
                        self.milliseconds = (time.perf_counter() - began) * 1000
                    return self._made[1]

            predictor.preprocess = preprocess
            predictors.append(predictor)

        yolo.add_callback("on_predict_start", on_start)
        try:
            yield
        finally:
            for callbacks in filter(None, (yolo.callbacks, getattr(yolo.predictor, "callbacks", None))):
                if on_start in callbacks["on_predict_start"]:
                    callbacks["on_predict_start"].remove(on_start)
            for predictor in predictors:
                vars(predictor).pop("preprocess", None)


def _input_key(predictor: Any) -> tuple:
    """What the input hangs on besides the picture."""
    kind = type(predictor)
    model = predictor.model
    return (
        kind.preprocess, kind.pre_transform, tuple(predictor.imgsz), int(model.stride), str(predictor.device),
        bool(model.fp16), bool(predictor.args.rect), model.format, predictor.scale_fill,
    )  # fmt: skip
