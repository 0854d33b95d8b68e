"""Capture: what it takes is what the layers used, it changes nothing, mixes nothing, and leaves nothing behind."""

from __future__ import annotations

import copy
import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from samples import LAYERS, picture, random_model
from torch import nn
from ultralytics import YOLO

from halo_vis import HaloAttention, capture
from halo_vis.trace import Trace

CELLS = [(0, 0), (0, 1), (3, 2), (7, 7), (8, 8), (5, 9), (9, 6), (-1, -1), (-1, 0), (-9, -3)]


@pytest.fixture(scope="module")
def residual() -> YOLO:
    return random_model("residual")


# ---------------------------------------------------------------- an oracle inside the layer
def slow_layer(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: HaloAttention
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(H, W, heads, d) in float64 -> weights (H, W, heads, w, w), values (H, W, heads, w, w, d), attended values."""
    height, width, heads, d = q.shape
    b, h, w = layer.block_size, layer.halo_size, layer.window_size
    rel_y, rel_x = (t.detach().double() for t in (layer.rel_pos_emb.rel_height, layer.rel_pos_emb.rel_width))
    inside, keys, values = (
        torch.zeros(height + 2 * w, width + 2 * w),
        *(torch.zeros(height + 2 * w, width + 2 * w, heads, d, dtype=torch.float64) for _ in "kv"),
    )
    middle = slice(w, w + height), slice(w, w + width)
    inside[middle], keys[middle], values[middle] = 1, k, v
    weights = torch.zeros(height, width, heads, w, w, dtype=torch.float64)
    out = torch.zeros(height, width, heads, d, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            oy, ox = y // b * b - h + w, x // b * b - h + w
            window = slice(oy, oy + w), slice(ox, ox + w)
            query = q[y, x] * d**-0.5
            up = torch.arange(w) - (y % b) + w - 1
            left = torch.arange(w) - (x % b) + w - 1
            position = (query @ rel_y[up].T)[:, :, None] + (query @ rel_x[left].T)[:, None, :]
            logits = torch.einsum("hd,ijhd->hij", query, keys[window]) + position
            there = inside[window] > 0
            if layer.mask == "published":
                logits = torch.zeros_like(logits) if there.all() else position.masked_fill(there, -torch.inf)
            else:
                logits = logits.masked_fill(~there, -torch.inf)
            weights[y, x] = logits.flatten(1).softmax(1).view_as(logits)
            out[y, x] = torch.einsum("hij,ijhd->hd", weights[y, x], values[window])
    return weights, out, values


def watch(root: nn.Module) -> tuple[dict, list]:
    """The test's own hooks: what goes into and comes out of every halo layer."""
    seen: dict[int, tuple] = {}
    handles = []
    for layer in root.model:
        if isinstance(layer, HaloAttention):
            hook = lambda m, args, out: seen.__setitem__(m.i, (m, args[0].clone(), out.clone()))  # noqa: E731
            handles.append(layer.register_forward_hook(hook))
    return seen, handles


def check_against_layers(traces: list[Trace], seen: dict) -> None:
    for level_name, index in LAYERS.items():
        layer, x, y = seen[index]
        assert len(traces) == len(x)
        for i, trace in enumerate(traces):
            level = trace[level_name]
            assert (level.heads, level.mask, level.residual) == (layer.heads, layer.mask, layer.residual)
            cells = x[i].permute(1, 2, 0).double()
            split = (layer.heads, layer.dim_head)
            q = (cells @ layer.to_q.weight.detach().double().T).unflatten(-1, split)
            k, v = (t.unflatten(-1, split) for t in (cells @ layer.to_kv.weight.detach().double().T).chunk(2, -1))
            weights, out, _ = slow_layer(q, k, v, layer)
            # 1. These weights, applied to these values, are what the layer put out.
            branch = out.flatten(-2) @ layer.to_out.weight.detach().double().T + layer.to_out.bias.detach().double()
            expected = branch.permute(2, 0, 1) + (x[i] if layer.residual else 0)
            assert (y[i] - expected).abs().max() < 1e-4 * expected.abs().max()
            # 2. The trace's rows are these weights, as far as fp16 goes, 3. and exactly those of its own fp16 tensors.
            own = slow_layer(*(torch.from_numpy(t).double() for t in (level.q, level.k)), v, _rounded(layer))[0]
            height, width = q.shape[:2]
            for cy, cx in {(cy % height, cx % width) for cy, cx in CELLS}:
                for head in (None, 0, layer.heads - 1):
                    row = level.row(cy, cx, head)
                    pair = weights[cy, cx], own[cy, cx]
                    used, mine = ((t.mean(0) if head is None else t[head]).numpy() for t in pair)
                    assert np.abs(row - used).max() < 5e-3 * used.max()
                    assert np.abs(row - mine).max() < 1e-5
            # 4. Value norms: of what each head's value adds to the output, as a share of the largest.
            parts = layer.to_out.weight.detach().double().unflatten(1, split)
            norm = torch.einsum("ohd,yxhd->yxho", parts, v).norm(dim=-1)
            assert np.abs(level.norm - (norm / norm.max()).numpy()).max() < 1e-3


def _rounded(layer: HaloAttention) -> HaloAttention:
    layer = copy.deepcopy(layer)
    layer._forward_hooks.clear()
    for table in (layer.rel_pos_emb.rel_height, layer.rel_pos_emb.rel_width):
        table.data = table.data.half().float()
    return layer


@torch.no_grad()
def tame(root: nn.Module, traces: list[Trace]) -> None:
    """Bring logits down to the tens of trained layers: with hundreds, fp16 itself costs more than is promised."""
    for name, index in LAYERS.items():
        largest = max(
            np.linalg.norm(t[name].q.astype(float), axis=-1).max()
            * np.linalg.norm(t[name].k.astype(float), axis=-1).max()
            for t in traces
        )
        root.model[index].to_q.weight *= min(1.0, 15 / (largest * root.model[index].scale))


@pytest.mark.parametrize("form", ["residual", "article", "published"])
@pytest.mark.parametrize("sizes", [[(120, 160)], [(160, 90), (160, 90)]], ids=["one", "two"])
def test_rows_are_what_the_layers_used(form: str, sizes: list) -> None:
    how = {"form": "article", "mask": "published"} if form == "published" else {"form": form}
    yolo = random_model(**how, like=sizes[0])
    photos = [picture(*size, seed) for seed, size in enumerate(sizes)]
    with capture(yolo) as captured:
        for _ in range(3):  # a level's features depend on the levels before
            yolo.predict(photos, imgsz=160, verbose=False)
            tame(yolo.predictor.model.model, captured.traces)
        seen, handles = watch(yolo.predictor.model.model)
        yolo.predict(photos, imgsz=160, verbose=False)
    assert len(handles) == 3
    check_against_layers(captured.traces, seen)


def test_a_plain_model() -> None:
    """Without a predictor the input is the photo; levels are named by stride, cells by the map's real size."""
    model = random_model("residual", like=(224, 160)).model
    image = torch.from_numpy(picture(224, 160)).permute(2, 0, 1)[None] / 255
    with torch.no_grad(), capture(model) as captured:
        model(image)
        tame(model, captured.traces)
        seen, _ = watch(model)
        model(torch.cat([image, image.flip(3)]))
    check_against_layers(captured.traces, seen)
    levels = captured.traces[1]
    assert {n: (t.grid.height, t.grid.width, t.stride) for n, t in levels.items()} == {
        "P3": (28, 20, 8), "P4": (14, 10, 16), "P5": (7, 5, 32),
    }  # fmt: skip
    assert levels.letterbox.to_photo(3, 4) == (3, 4)
    with pytest.raises(KeyError, match=r"no halo layer at 'P2': this trace holds \['P3', 'P4', 'P5'\]"):
        levels["P2"]


# ---------------------------------------------------------------- YOLO26's own attention
@pytest.mark.parametrize(
    ("form", "scale", "names"),
    [
        ("baseline", "n", ["layer10", "layer22"]),
        ("residual", "n", ["layer10", "layer22"]),
        ("residual", "l", ["layer10", "layer10.1", "layer22"]),
    ],
)
def test_global_rows_are_what_the_modules_used(form: str, scale: str, names: list[str]) -> None:
    from ultralytics.nn.modules.block import Attention

    yolo = random_model(form, scale=scale)
    photo, inputs = picture(96, 160), []
    with capture(yolo) as captured:
        yolo.predict(photo, imgsz=160, verbose=False)
        modules = [m for m in yolo.predictor.model.model.modules() if isinstance(m, Attention)]
        for m in modules:
            m.register_forward_pre_hook(lambda m, args: inputs.append(args[0].clone()))
        yolo.predict(photo, imgsz=160, verbose=False)
    own = captured.traces[0].global_attention
    assert list(own) == names and len(captured.traces[0]) == (0 if form == "baseline" else 3)
    for module, x, (name, level) in zip(modules, inputs, own.items(), strict=True):
        assert level.layer == name and level.stride == 32 and level.heads == module.num_heads
        qkv = module.qkv(x)[0].flatten(1).double()
        for head, part in enumerate(qkv.split(2 * module.key_dim + module.head_dim)):
            q, k = part[: module.key_dim], part[module.key_dim : 2 * module.key_dim]
            used, mine = (
                ((q * module.scale).T @ k).softmax(-1).unflatten(0, (3, 5)).unflatten(-1, (3, 5)).detach().numpy()
                for q, k in ((q, k), (q.half().double(), k.half().double()))
            )
            for y, x_ in [(0, 0), (1, 3), (2, 4)]:
                row = level.row(y, x_, head)
                assert np.abs(row - mine[y, x_]).max() < 1e-5
                if scale == "n":  # the untrained l has logits of thousands, where fp16 shows
                    assert np.abs(row - used[y, x_]).max() < 5e-3 * used[y, x_].max()


# ---------------------------------------------------------------- it changes nothing
@pytest.mark.parametrize("settings", [{}, {"nms": False}, {"imgsz": 128}], ids=str)
def test_detections_are_bit_identical(residual: YOLO, settings: dict) -> None:
    # nms=None said aloud: Ultralytics keeps what an earlier call of the same model set
    settings = {"imgsz": 160, "conf": 0.2, "nms": None, "verbose": False} | settings
    photo = picture(120, 160)
    before = residual.predict(photo, **settings)[0].boxes.data
    with capture(residual) as captured:
        during = residual.predict(photo, **settings)[0].boxes.data
    after = residual.predict(photo, **settings)[0].boxes.data
    alone = random_model("residual").predict(photo, **settings)[0].boxes.data
    assert len(before) > 3 and len(captured.traces[0].queries) == len(during)
    assert torch.equal(before, during) and torch.equal(before, after) and torch.equal(before, alone)


# ---------------------------------------------------------------- it mixes nothing
def same(a: Trace, b: Trace) -> bool:
    pairs = [(getattr(a[n], f), getattr(b[n], f)) for n in a for f in ("q", "k", "norm", "rel_height", "rel_width")]
    pairs += [(t.q, b.global_attention[n].q) for n, t in a.global_attention.items()]
    return (
        a.letterbox == b.letterbox
        and a.queries == b.queries
        and all(np.array_equal(first, other) for first, other in pairs)
    )


def fresh(photo: object, **settings: object) -> Trace:
    """The trace of a model that never saw another picture."""
    yolo = random_model("residual")
    with capture(yolo) as captured:
        yolo.predict(photo, verbose=False, **settings)
    assert captured.traces[0].queries
    return captured.traces[0]


def test_survives_every_replacement_of_the_predictor() -> None:
    """The predictor's fused copy is made anew for another head or device; a hook on the old copy would hear nothing."""
    yolo, photo = random_model("residual"), picture(120, 160)
    yolo.predict(photo, imgsz=96, verbose=False)
    roots = set()
    for _ in range(2):  # a second context on the same model, too
        with capture(yolo) as captured:
            for settings in ({"imgsz": 96}, {"imgsz": 96, "nms": False}, {"imgsz": 160}, {"imgsz": 96, "rect": False}):
                settings = {"nms": None} | settings
                yolo.predict(photo, verbose=False, **settings)
                roots.add(id(yolo.predictor.model.model))
                assert len(captured.traces) == 1 and same(captured.traces[0], fresh(photo, **settings)), settings
    assert len(roots) > 1


def test_pictures_and_warm_up_never_mix(residual: YOLO) -> None:
    first, second = picture(120, 160, 1), picture(160, 96, 2)
    alone = fresh(first, imgsz=160), fresh(second, imgsz=160)
    assert not same(*alone)
    with capture(residual) as captured:
        residual.predict(first, imgsz=160, nms=None, verbose=False)
        kept = captured.traces
        residual.predict(second, imgsz=160, verbose=False)
        assert same(captured.traces[0], alone[1]) and same(kept[0], alone[0])
        root = residual.predictor.model.model
        with torch.inference_mode():  # a warm-up by hand: no picture, so no trace
            root(torch.zeros(1, 3, 64, 64))
        residual.predictor.model.warmup(imgsz=(1, 3, 64, 64))
        assert same(captured.traces[0], alone[1])
        residual.predict(first, imgsz=160, verbose=False)
    assert len(captured.traces) == 1 and same(captured.traces[0], alone[0])


def test_a_folder_gives_one_trace_per_picture_in_order(residual: YOLO, tmp_path: Path) -> None:
    photos = [picture(64, 96, 1), picture(96, 64, 2), picture(96, 96, 3)]
    for i, pixels in enumerate(photos):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    with capture(residual) as captured:
        results = residual.predict(tmp_path, imgsz=96, verbose=False)
        assert len(captured.traces) == len(results) == 3
        for trace, result, pixels in zip(captured.traces, results, photos, strict=True):
            assert len(trace.queries) == len(result.boxes)
            assert same(trace, fresh(np.ascontiguousarray(pixels[..., ::-1]), imgsz=96))
        for n, _ in enumerate(residual.predict(tmp_path, imgsz=96, verbose=False, stream=True)):
            assert len(captured.traces) == 1 and captured.traces[0].letterbox.photo_height == photos[n].shape[0]


def test_a_predict_that_fails_leaves_no_trace_of_the_one_before(residual: YOLO, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with capture(residual) as captured:
        residual.predict(picture(64, 64), imgsz=64, verbose=False)
        residual.predict(tmp_path, imgsz=64, verbose=False)  # Ultralytics warns and skips it
        assert captured.traces == []


# ---------------------------------------------------------------- it leaves nothing behind
def hooks_of(root: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in root.modules())


def test_everything_is_freed() -> None:
    yolo, photo, tensors = random_model("residual"), picture(96, 96), []
    yolo.predict(photo, imgsz=96, verbose=False)
    before = {event: list(calls) for event, calls in yolo.callbacks.items()}
    assert hooks_of(yolo.predictor.model.model) == 0

    def remember(module: nn.Module, args: tuple, output: torch.Tensor) -> None:
        tensors.append(weakref.ref(output.untyped_storage()))
        tensors.append(weakref.ref(output))

    with capture(yolo) as captured:
        halos = [m for m in yolo.predictor.model.model.model if isinstance(m, HaloAttention)]
        mine = [m.to_q.register_forward_hook(remember) for m in halos]
        yolo.predict(photo, imgsz=96, verbose=False)
        gc.collect()
        assert len(tensors) == 6 and all(t() is None for t in tensors)  # not even inside the context
        old = weakref.ref(yolo.predictor.model.model)
        yolo.predict(photo, imgsz=96, nms=False, verbose=False)
        gc.collect()
        assert old() is None  # Ultralytics dropped it, and so did we
    for handle in mine:
        handle.remove()
    assert hooks_of(yolo.predictor.model.model) == 0 and hooks_of(yolo.model) == 0
    assert {event: list(calls) for event, calls in yolo.callbacks.items()} == before == dict(yolo.predictor.callbacks)
    models = [weakref.ref(m) for m in (yolo, yolo.model, yolo.predictor.model.model)]
    del yolo
    gc.collect()
    assert [m() for m in models] == [None] * 3
    assert captured.traces[0]["P3"].row(0, 0).sum() == pytest.approx(1, abs=1e-5)  # what remains stands on its own


def test_freed_after_an_error_and_with_a_plain_model() -> None:
    yolo = random_model("residual")
    yolo.predict(picture(64, 64), imgsz=64, verbose=False)  # adds the callbacks of Ultralytics' own integrations
    before = {event: list(calls) for event, calls in yolo.callbacks.items()}
    with pytest.raises(RuntimeError, match="mine"), capture(yolo):
        yolo.predict(picture(64, 64), imgsz=64, verbose=False)
        raise RuntimeError("mine")
    assert hooks_of(yolo.predictor.model.model) == 0 and {e: list(c) for e, c in yolo.callbacks.items()} == before
    with pytest.raises(RuntimeError), capture(yolo.model):
        assert hooks_of(yolo.model) > 0
        yolo.model(torch.zeros(1, 4, 64, 64))
    assert hooks_of(yolo.model) == 0
