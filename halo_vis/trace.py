"""Capture what the attention layers of a model computed during one ordinary predict.

    with capture(yolo) as captured:
        results = yolo.predict(picture)
    trace = captured.traces[0]          # one Trace per picture, in the order of the results
    trace["P3"].row(y, x)

Hooks sit on the projections inside the layers (what they return is what the layer used) and on the model that the
predictor really runs, a fused copy that Ultralytics makes, and makes again whenever a setting asks for it: they are set
when a predict starts and taken off when the context ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from ultralytics import YOLO
from ultralytics.nn.modules.block import Attention
from ultralytics.utils import nms, ops

from halo_vis.attention import HaloAttention
from halo_vis.geometry import HaloGrid, Letterbox
from halo_vis.maps import GlobalTrace, LevelTrace


@dataclass(frozen=True, eq=False)
class Trace(Mapping[str, LevelTrace]):
    """The attention of one picture: halo layers by level ("P3", ...), YOLO26's own by stock layer ("layer10", ...).

    Attributes:
        queries: for every detection, in the order of the result's boxes, the cell that produced it: (level, y, x).
    """

    levels: Mapping[str, LevelTrace]
    global_attention: Mapping[str, GlobalTrace]
    letterbox: Letterbox
    queries: tuple[tuple[str, int, int], ...] = ()

    def __getitem__(self, level: str) -> LevelTrace:
        """The trace of one halo level."""
        if level not in self.levels:
            raise KeyError(f"no halo layer at {level!r}: this trace holds {sorted(self.levels) or 'no halo layer'}.")
        return self.levels[level]

    def __iter__(self) -> Iterator[str]:
        """The levels' names, finest first."""
        return iter(self.levels)

    def __len__(self) -> int:
        """How many halo levels there are."""
        return len(self.levels)


@dataclass
class _Pass:
    """What one forward pass left behind."""

    input_shape: tuple[int, ...] = ()
    tensors: dict[str, Tensor] = field(default_factory=dict)
    output: object = None


class Captured:
    """Result of :func:`capture`: ``traces`` of the last predict (or forward pass), one per picture.

    Of a predict with ``stream=True`` the traces of the batch that it yielded last.
    """

    def __init__(self) -> None:
        self.traces: list[Trace] = []
        self._pass = _Pass()
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._root: nn.Module | None = None
        self._layers: dict[str, nn.Module] = {}

    def attach(self, root: nn.Module) -> None:
        """Hook the attention layers of `root`; hooks of an earlier root are taken off."""
        if root is self._root:
            return
        self.detach()
        self._root, self._layers = root, attention_layers(root)
        # Every forward pass starts a record of its own, so a warm-up can never be taken for the picture.
        self._handles.append(root.register_forward_pre_hook(self._begin))
        self._handles.append(root.register_forward_hook(self._end))
        for name, module in self._layers.items():
            for part in ("to_q", "to_kv") if isinstance(module, HaloAttention) else ("qkv",):
                self._handles.append(getattr(module, part).register_forward_hook(self._keep(f"{name}.{part}")))

    def detach(self) -> None:
        """Take all hooks off and let go of the model and of every tensor."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._root, self._layers = None, {}
        self._pass = _Pass()

    def _begin(self, module: nn.Module, args: tuple) -> None:
        self._pass = _Pass(tuple(args[0].shape) if isinstance(args[0], Tensor) else ())

    def _end(self, module: nn.Module, args: tuple, output: object) -> None:
        self._pass.output = output

    def _keep(self, key: str) -> Callable:
        def hook(module: nn.Module, args: tuple, output: Tensor) -> None:
            self._pass.tensors[key] = output.detach()
            if key.endswith(".to_q"):
                self._pass.tensors[f"{key}.input"] = args[0].detach()

        return hook

    def commit(
        self, letterboxes: list[Letterbox] | None = None, queries: list | None = None, add: bool = False
    ) -> None:
        """Turn the last forward pass into traces on the CPU; `add` keeps those of the batches before."""
        batch, _, height, width = self._pass.input_shape
        letterboxes = letterboxes or [Letterbox.none(height, width)] * batch
        traces = [
            _trace(self._layers, self._pass, i, letterboxes[i], queries[i] if queries else ()) for i in range(batch)
        ]
        self.traces = self.traces + traces if add else traces
        self._pass = _Pass()


@contextmanager
def capture(model: YOLO | nn.Module) -> Iterator[Captured]:
    """Capture the attention of every predict made inside the context; afterwards the last one's traces remain.

    Args:
        model: a `YOLO` (capture its predicts) or a built model (capture its forward passes; the input is the photo).

    Yields:
        :class:`Captured`, whose ``traces`` are filled by each predict or forward pass.
    """
    captured = Captured()
    if not isinstance(model, YOLO):
        captured.attach(model)
        captured._handles.append(model.register_forward_hook(lambda *_: captured.commit()))
        try:
            yield captured
        finally:
            captured.detach()
        return

    def on_start(predictor: object) -> None:
        captured.attach(predictor.model.model)
        captured.traces = []  # a predict that fails must not leave those of the one before

    def on_result(predictor: object) -> None:
        boxes = [
            Letterbox.fit(im.shape[:2], tuple(predictor.imgsz), int(predictor.model.stride), _auto(predictor))
            for im in predictor.batch[1]
        ]
        # A folder comes in several batches, and all are wanted; a stream may never end.
        captured.commit(boxes, _queries(predictor, captured._pass), add=not getattr(predictor, "stream", True))

    events = {"on_predict_start": on_start, "on_predict_postprocess_end": on_result}
    for event, callback in events.items():
        model.add_callback(event, callback)
    try:
        yield captured
    finally:
        # A predictor shares its callbacks with the YOLO that made it, unless it was made before and copied.
        for callbacks in filter(None, (model.callbacks, getattr(model.predictor, "callbacks", None))):
            for event, callback in events.items():
                if callback in callbacks[event]:
                    callbacks[event].remove(callback)
        captured.detach()


def attention_layers(root: nn.Module) -> dict[str, nn.Module]:
    """Halo layers by index ("halo17"), YOLO26's own attention by the index its layer has in the stock model."""
    found: dict[str, nn.Module] = {}
    inserted = 0
    for layer in root.model:
        if isinstance(layer, HaloAttention):
            found[f"halo{layer.i}"] = layer
            inserted += 1
            continue
        for n, module in enumerate(_own(layer)):  # larger scales repeat it: layer10, layer10.1, ...
            found[f"layer{layer.i - inserted}" + (f".{n}" if n else "")] = module
    return found


def _own(module: nn.Module) -> Iterator[Attention]:
    """YOLO26's own attention inside a layer, in order. By hand: `modules()` takes five times as long."""
    if isinstance(module, Attention):
        yield module
    for part in module._modules.values():
        if part is not None:
            yield from _own(part)


def _auto(predictor: object) -> bool:
    """Whether Ultralytics pads to the stride only: the condition of its predictor's pre_transform."""
    return len({im.shape for im in predictor.batch[1]}) == 1 and predictor.args.rect and predictor.model.format == "pt"


def _half(t: Tensor) -> np.ndarray:
    return t.to(device="cpu", dtype=torch.float16).contiguous().numpy()


def _trace(layers: Mapping[str, nn.Module], done: _Pass, i: int, letterbox: Letterbox, queries: tuple) -> Trace:
    """The trace of picture `i` of a forward pass."""
    levels, own = {}, {}
    for name, module in layers.items():
        if isinstance(module, HaloAttention):
            level = _level_trace(module, done, name, i, letterbox)
            levels[level.level] = level
        else:
            qkv = done.tensors[f"{name}.qkv"][i]  # channels, H, W
            height, width = qkv.shape[1:]
            heads = qkv.reshape(module.num_heads, 2 * module.key_dim + module.head_dim, height, width)
            q, k = (_half(t.permute(2, 3, 0, 1)) for t in heads[:, : 2 * module.key_dim].split(module.key_dim, dim=1))
            own[name] = GlobalTrace(name, done.input_shape[2] // height, letterbox, q, k, module.scale)
    return Trace(levels, own, letterbox, tuple(queries))


def _level_trace(layer: HaloAttention, done: _Pass, name: str, i: int, letterbox: Letterbox) -> LevelTrace:
    q = done.tensors[f"{name}.to_q"][i]  # H, W, heads * d
    k, v = done.tensors[f"{name}.to_kv"][i].chunk(2, dim=-1)
    height, width = q.shape[:2]
    q, k, v = (t.unflatten(-1, (layer.heads, layer.dim_head)) for t in (q, k, v))
    # |W_h v|, head by head, through the d x d matrix W_h^T W_h: no map of `dim` channels per head.
    out = layer.to_out.weight.detach().float().unflatten(1, (layer.heads, layer.dim_head))
    gram = torch.einsum("ohd,ohe->hde", out, out)
    norm = torch.einsum("yxhd,hde,yxhe->yxh", v.float(), gram, v.float()).clamp(min=0).sqrt()
    norm = norm / norm.max().clamp(min=torch.finfo(norm.dtype).tiny)
    stride = done.input_shape[2] // height
    return LevelTrace(
        level=f"P{stride.bit_length() - 1}",
        stride=stride,
        grid=HaloGrid(height, width, layer.block_size, layer.halo_size),
        letterbox=letterbox,
        q=_half(q),
        k=_half(k),
        norm=_half(norm),
        rel_height=_half(layer.rel_pos_emb.rel_height.detach()),
        rel_width=_half(layer.rel_pos_emb.rel_width.detach()),
        scale=layer.scale,
        mask=layer.mask,
        residual=layer.residual,
        features=_half(done.tensors[f"{name}.to_q.input"][i]),
        spread=tuple(float(w.detach().float().std()) for w in (layer.to_q.weight, layer.to_kv.weight.chunk(2)[0])),
    )


def _queries(predictor: object, done: _Pass) -> list[tuple[tuple[str, int, int], ...]]:
    """For each picture and each of its boxes, the cell (level, y, x) that produced it.

    One-to-many head: the indices that NMS kept. NMS-free head: the indices of its top-k, which its postprocess drops.
    """
    head = done_head = predictor.model.model.model[-1]
    prediction, raw = done.output
    y = prediction[0] if isinstance(prediction, tuple) else prediction
    args, end2end = predictor.args, bool(getattr(predictor.model, "end2end", False))
    boxes, kept = nms.non_max_suppression(
        y,
        args.conf,
        args.iou,
        args.classes,
        args.agnostic_nms,
        max_det=args.max_det,
        nc=0 if args.task == "detect" else len(predictor.model.names),
        end2end=end2end,
        return_idxs=True,
    )
    raw = raw["one2one" if end2end else "one2many"] if "one2one" in raw else raw
    if end2end:
        scores = raw["scores"].sigmoid().permute(0, 2, 1)
        index = done_head.get_topk_index(scores, head.max_det)[2]
        kept = [index[i][k.long()] for i, k in enumerate(kept)]
    shapes = [tuple(f.shape[2:]) for f in raw["feats"]]
    strides = [int(s) for s in head.stride]
    out = []
    for i, result in enumerate(predictor.results):
        cells = [_cell(int(n), shapes, strides) for n in kept[i].reshape(-1)]
        scaled = ops.scale_boxes(done.input_shape[2:], boxes[i][:, :4].clone(), result.orig_shape)
        # A segmentation predictor drops boxes whose mask is empty: the boxes left are a subsequence of these.
        final, found = result.boxes.xyxy, iter(range(len(cells)))
        out.append(tuple(next(cells[n] for n in found if torch.equal(scaled[n], box.to(scaled))) for box in final))
    return out


def _cell(anchor: int, shapes: list[tuple[int, int]], strides: list[int]) -> tuple[str, int, int]:
    """Anchor index -> (level, y, x); anchors run over the levels, row by row."""
    for (height, width), stride in zip(shapes, strides, strict=True):
        if anchor < height * width:
            return f"P{stride.bit_length() - 1}", anchor // width, anchor % width
        anchor -= height * width
    raise AssertionError("anchor index beyond the last level")
