"""HaloAttention in every form torch gives it: dtypes, autocast, memory formats, copies, torch.compile, ONNX."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import attention_oracle
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from halo_vis.attention import HaloAttention

MASKS = ("valid", "published")
OTHER_SIZES = [(1, 1), (7, 7), (15, 20), (21, 16), (60, 80), (16, 24)]


def make(mask="valid", residual=False, dim=16) -> HaloAttention:
    """A layer that does something in every part of it, the residual form included."""
    layer = HaloAttention(dim, 8, 3, 8, None, mask, residual)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.4)
    return layer


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("residual", [False, True], ids=["in-place", "residual"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 8e-2)],
    ids=str,
)
def test_every_dtype_against_the_loop_in_float64(dtype, tolerance, residual, mask):
    layer = make(mask, residual).to(dtype)
    x = torch.randn(1, 16, 9, 17).to(dtype)
    out = layer(x)
    assert out.dtype == dtype
    state = attention_oracle.parameters(layer)  # what the dtype holds, exactly
    loop = attention_oracle.forward(state, x.double().numpy(), 8, 3, layer.heads, mask, residual)
    np.testing.assert_allclose(out.detach().double().numpy(), loop, rtol=0, atol=tolerance * np.abs(loop).max())


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("residual", [False, True], ids=["in-place", "residual"])
def test_autocast_trains_in_bfloat16_with_float32_parameters(residual, mask):
    layer, x = make(mask, residual), torch.randn(2, 16, 24, 24)
    plain = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x)
    assert out.dtype == (torch.float32 if residual else torch.bfloat16)
    torch.testing.assert_close(out.float(), plain, rtol=0, atol=0.05 * float(plain.detach().abs().max()))
    assert not torch.equal(out.float(), plain), "autocast had no effect"
    out.float().square().mean().backward()
    for name, p in layer.named_parameters():
        assert p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all(), name


def test_channels_last_input_gives_the_same_map():
    layer, x = make(), torch.randn(2, 16, 15, 20)
    last = x.contiguous(memory_format=torch.channels_last)
    assert not last.is_contiguous()
    torch.testing.assert_close(layer(last), layer(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(layer.to(memory_format=torch.channels_last)(last), layer(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(layer(x[:, :, ::2, 1:]), layer(x[:, :, ::2, 1:].clone()), rtol=0, atol=1e-6)


def test_meta_device_gives_shapes_without_memory():
    layer = make().to("meta")
    assert layer(torch.empty(2, 16, 60, 80, device="meta")).shape == (2, 16, 60, 80)


@pytest.mark.parametrize("residual", [False, True], ids=["in-place", "residual"])
@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_are_equal_and_independent(again, residual):
    layer, x = make("published", residual), torch.randn(1, 16, 20, 20)
    twin = again(layer)
    assert torch.equal(twin(x), layer(x)) and repr(twin) == repr(layer)
    before = layer(x)
    nn.init.ones_(twin.to_out.weight)
    assert torch.equal(layer(x), before) and not torch.equal(twin(x), before)


def test_a_pickle_opens_in_a_process_that_never_imported_halo_vis(tmp_path: Path):
    layer, x = make("published", True), torch.randn(1, 16, 9, 9)
    torch.save({"layer": layer, "x": x, "out": layer(x).detach()}, tmp_path / "layer.pt")
    code = (
        "import sys, torch; saved = torch.load(sys.argv[1], weights_only=False); "
        "torch.testing.assert_close(saved['layer'](saved['x']), saved['out']); "
        "import ultralytics.nn.tasks as t; assert t.HaloAttention is type(saved['layer'])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "layer.pt"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def compiler() -> None:
    """torch.compile without what other tests compiled."""
    torch._dynamo.reset()


@pytest.mark.parametrize(("mask", "backend"), [("valid", "inductor"), ("published", "aot_eager")])
def test_compiles_into_one_graph(mask, backend, compiler):
    """fullgraph: any break raises. Forward and backward."""
    layer, x = make(mask), torch.randn(2, 16, 15, 20)
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    results = []
    for run in (layer, compiled):
        layer.zero_grad()
        out = run(x)
        out.square().mean().backward()
        results.append({"out": out.detach()} | {n: p.grad.clone() for n, p in layer.named_parameters()})
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_compiles_into_one_graph_for_all_sizes(compiler):
    """Sizes that were never traced run through graphs that were: one where the block divides the map, one where not."""
    layer = make()
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch.no_grad(), torch._dynamo.config.patch(recompile_limit=2, fail_on_recompile_limit_hit=True):
        for height, width in ((24, 40), (15, 20), (60, 84), (21, 12), (32, 56)):
            x = torch.randn(2, 16, height, width)
            torch.testing.assert_close(compiled(x), layer(x), rtol=1e-4, atol=1e-5)


# --- ONNX ---


def export(layer: nn.Module, path: Path, exporter: str, dynamic: bool) -> onnxruntime.InferenceSession:
    """Export at 2 x 16 x 16 x 24, all of batch, height and width dynamic or none, and open it in onnxruntime."""
    x, names = torch.randn(2, 16, 16, 24), {0: "batch", 2: "height", 3: "width"}
    arguments = {"input_names": ["x"], "output_names": ["y"]}
    if exporter == "dynamo":
        shapes = (dict.fromkeys(names, torch.export.Dim.DYNAMIC),)
        arguments |= {"dynamo": True, "dynamic_shapes": shapes if dynamic else None}
    else:
        arguments |= {"dynamo": False, "dynamic_axes": {"x": names, "y": names} if dynamic else None}
    torch.onnx.export(layer.eval(), (x,), str(path), **arguments)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def agrees(session: onnxruntime.InferenceSession, layer: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        expected = layer(x)
    (out,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(out, expected.numpy(), rtol=1e-4, atol=2e-5, err_msg=str(tuple(x.shape)))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_static_onnx_agrees(exporter, mask, tmp_path: Path):
    layer = make(mask, residual=True)
    agrees(export(layer, tmp_path / "m.onnx", exporter, dynamic=False), layer, torch.randn(2, 16, 16, 24))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_dynamic_onnx_agrees_at_sizes_that_were_never_exported(exporter, mask, tmp_path: Path):
    layer = make(mask)
    session = export(layer, tmp_path / "m.onnx", exporter, dynamic=True)
    for height, width in OTHER_SIZES:
        for batch in (1, 2, 3):
            agrees(session, layer, torch.randn(batch, 16, height, width))
