"""What is not done twice: predictors that are there already, and one input for both models."""

from __future__ import annotations

import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from samples import picture, random_model

from halo_vis import capture, inspect
from halo_vis.pairs import Card, Pair
from halo_vis.predictors import SharedInput


@pytest.fixture
def pair() -> Pair:
    """New models: what is kept for others is not in the way."""
    return Pair(Card("own", "Random", 160), random_model("baseline"), random_model("residual"))


def test_inspect_sees_what_a_bare_predict_sees(pair: Pair) -> None:
    """Boxes and attention are those of each model alone, to the bit: sharing the input changes nothing."""
    photo = picture(90, 120)
    seen = inspect(pair, photo, conf=0.3, device="cpu")
    for found, yolo in ((seen.baseline, pair.baseline), (seen.halo, pair.halo)):
        with capture(yolo) as captured:
            (alone,) = yolo.predict(photo[..., ::-1], conf=0.3, imgsz=160, device="cpu", verbose=False)
        assert len(alone.boxes)
        np.testing.assert_array_equal(found.xyxy, alone.boxes.xyxy.numpy())
        np.testing.assert_array_equal(found.conf, alone.boxes.conf.numpy())
    for level, trace in captured.traces[0].items():
        for name in ("q", "k", "norm", "features"):
            np.testing.assert_array_equal(getattr(seen.trace[level], name), getattr(trace, name))


def test_the_input_is_made_once(pair: Pair) -> None:
    """Letterboxed for the first model, taken by the second; afterwards both make their own again."""
    made, models = [], (pair.baseline, pair.halo)
    callbacks = [list(yolo.callbacks["on_predict_start"]) for yolo in models]
    for yolo in models:
        yolo.predict(picture(90, 120), imgsz=160, device="cpu", verbose=False)
        kind = type(yolo.predictor)

        class Counts(kind):
            def pre_transform(self, im: list) -> list:
                made.append(self)
                return super().pre_transform(im)

        yolo.predictor.__class__ = Counts
    inspect(pair, picture(90, 120), device="cpu")
    # Two classes of two models: what makes the input is not known to be the same, and is asked of both.
    assert made == [pair.baseline.predictor, pair.halo.predictor]
    pair.halo.predictor.__class__ = type(pair.baseline.predictor)
    made.clear()
    inspect(pair, picture(90, 120), device="cpu")
    assert made == [pair.baseline.predictor]
    assert "preprocess" not in vars(pair.baseline.predictor) | vars(pair.halo.predictor)
    assert [list(yolo.callbacks["on_predict_start"]) for yolo in models] == callbacks


def test_another_input_is_made_anew(pair: Pair) -> None:
    """Two models that letterbox to other sizes do not share."""
    shared, shapes = SharedInput(), []
    for yolo, imgsz in ((pair.baseline, 160), (pair.halo, 96)):
        yolo.add_callback("on_predict_batch_end", lambda p: shapes.append(p.preprocess(p.batch[1]).shape))
        with shared.by(yolo):
            yolo.predict(picture(90, 120), imgsz=imgsz, device="cpu", verbose=False)
    assert [tuple(shape) for shape in shapes] == [(1, 3, 128, 160), (1, 3, 96, 96)]


def test_a_failed_predict_leaves_nothing_behind(pair: Pair) -> None:
    shared, callbacks = SharedInput(), list(pair.halo.callbacks["on_predict_start"])
    with pytest.raises(RuntimeError, match="stop"), shared.by(pair.halo):

        def stop(_: object) -> None:
            raise RuntimeError("stop")

        pair.halo.add_callback("on_predict_batch_start", stop)
        pair.halo.predict(picture(90, 120), imgsz=160, device="cpu", verbose=False)
    assert list(pair.halo.callbacks["on_predict_start"]) == callbacks
    assert "preprocess" not in vars(pair.halo.predictor)


def test_settings_to_and_fro_build_nothing_anew(pair: Pair) -> None:
    """Each head has its predictor after its first use; confidence, IoU and size change none."""
    photo, used = picture(90, 120), []
    for change in ({}, {"head": "NMS-free"}, {"conf": 0.1}, {"head": "NMS-free", "imgsz": 96}, {"iou": 0.3}):
        inspect(pair, photo, device="cpu", **change)
        used.append(pair.halo.predictor)
    assert used[0] is used[2] is used[4] and used[1] is used[3] and used[0] is not used[1]


def test_a_model_that_was_changed_is_copied_anew(pair: Pair) -> None:
    """Whoever changes a model takes its predictor away, as Ultralytics does; none of the old ones comes back."""
    photo = picture(90, 120)
    before = inspect(pair, photo, conf=0.3, device="cpu")
    free = inspect(pair, photo, conf=0.3, device="cpu", head="NMS-free")
    for layer in pair.halo.model.model:
        if hasattr(layer, "to_q"):
            with torch.no_grad():
                layer.to_q.weight.mul_(-2)
    pair.halo.predictor = None
    for head, old in (("one-to-many", before), ("NMS-free", free)):
        new = inspect(pair, photo, conf=0.3, device="cpu", head=head)
        assert np.abs(new.trace["P3"].q.astype(float) - old.trace["P3"].q).max() > 0.01


def test_side_by_side_is_one_after_the_other(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two threads or in one, every number is the same; the first predict of a model is done by itself."""
    from halo_vis import inspection

    photos = [picture(90, 120, seed) for seed in range(3)]
    threads, original = [], inspection._predict

    def noted(*args: object) -> tuple:
        threads.append(threading.current_thread().name)
        return original(*args)

    monkeypatch.setattr(inspection, "_predict", noted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 0)  # any machine has the cores
    first = inspect(pair, photos[0], conf=0.3, device="cpu")
    assert len(set(threads)) == 1
    together = [inspect(pair, photo, conf=0.3, device="cpu") for photo in photos]
    assert len(set(threads[2:4])) == 2 and any(name.startswith("baseline") for name in threads[2:])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10**6)
    alone = [inspect(pair, photo, conf=0.3, device="cpu") for photo in photos]
    assert set(threads[-6:]) == {threading.current_thread().name}
    for one, other in [(first, together[0]), *zip(together, alone, strict=True)]:
        for who in ("baseline", "halo"):
            np.testing.assert_array_equal(getattr(one, who).xyxy, getattr(other, who).xyxy)
            assert getattr(one, who).queries == getattr(other, who).queries
        np.testing.assert_array_equal(one.trace["P4"].q, other.trace["P4"].q)
        for layer, trace in one.global_attention["baseline"].items():
            np.testing.assert_array_equal(trace.q, other.global_attention["baseline"][layer].q)


def test_milliseconds_count_the_input_for_both(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made once, but either model needs it."""
    from halo_vis import inspection

    shares = []
    original = inspection._predict

    def noted(*args: object) -> tuple:
        out = original(*args)
        shares.append((out[2], args[3].milliseconds))
        return out

    monkeypatch.setattr(inspection, "_predict", noted)
    seen = inspect(pair, picture(90, 120), device="cpu")
    assert list(seen.milliseconds.values()) == [shares[0][0], shares[1][0]]
    assert shares[0][1] == shares[1][1] > 0 and all(whole > share for whole, share in shares)


def test_untrained_is_who_adds_nothing(pair: Pair) -> None:
    assert pair.untrained is False
    for layer in pair.halo.model.model:
        if hasattr(layer, "to_out"):
            torch.nn.init.zeros_(layer.to_out.weight)
    assert pair.untrained is True
    assert replace(pair, halo=random_model("article")).untrained is False


def test_colours_reach_the_model_as_before() -> None:
    """OpenCV's own turn of the channels is the plain one."""
    photo = picture(33, 47)
    np.testing.assert_array_equal(cv2.cvtColor(photo, cv2.COLOR_RGB2BGR), photo[..., ::-1])
