"""The backends of halo attention: which one is taken and why, and that all give the same numbers and gradients."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from halo_vis import kernels
from halo_vis.attention import HaloAttention, halo_attention
from halo_vis.kernels import chunked, scratch

# batch, height, width, heads, dim_head, block, halo
SHAPES = [
    (1, 1, 1, 1, 4, 1, 0),
    (1, 5, 7, 2, 8, 8, 3),
    (2, 16, 16, 1, 16, 8, 3),
    (3, 20, 15, 3, 8, 8, 3),
    (1, 9, 24, 2, 8, 4, 2),
    (2, 7, 11, 2, 5, 3, 1),
    (1, 6, 6, 1, 4, 1, 1),
    (2, 10, 10, 2, 4, 5, 0),
    (1, 9, 9, 2, 4, 2, 3),
    (1, 13, 4, 1, 4, 2, 5),
    (5, 3, 3, 2, 4, 2, 1),
]


def arguments(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], dict[str, int]]:
    """q, k, v (k and v the halves of one projection, as in the layer) and the tables, all with gradients."""
    batch, height, width, heads, d, block, halo = shape
    rows = 2 * (block + 2 * halo) - 1
    q = torch.randn(batch, height, width, heads * d, dtype=dtype, requires_grad=True)
    kv = torch.randn(batch, height, width, 2 * heads * d, dtype=dtype, requires_grad=True)
    tables = [torch.randn(rows, d, dtype=dtype, requires_grad=True) for _ in "hw"]
    return [q, *kv.chunk(2, dim=-1), *tables], {"heads": heads, "block_size": block, "halo_size": halo}


def results(backend: str, tensors: list[Tensor], geometry: dict[str, int]) -> list[Tensor]:
    """Output, and gradients of a weighted sum of it with respect to every argument."""
    out = halo_attention(*tensors, **geometry, backend=backend)
    weight = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
    return [out.detach(), *torch.autograd.grad(out, tensors, weight)]


@pytest.mark.parametrize("room", [1, 5000, chunked.ROOM], ids=["a row", "some", "all"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_chunked_equals_the_reference_with_all_gradients(
    shape: tuple[int, ...], room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the chunks: a block row, parts of a picture, several pictures, a last chunk that is smaller."""
    monkeypatch.setattr(chunked, "ROOM", room)
    tensors, geometry = arguments(shape)
    both = [results(backend, tensors, geometry) for backend in ("chunked", "reference")]
    for mine, reference in zip(*both, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-12 * max(1.0, float(reference.abs().max())))


def test_keys_and_values_that_are_no_halves_of_one_projection() -> None:
    (q, k, v, *tables), geometry = arguments((2, 9, 10, 2, 4, 4, 1))
    apart = [q, k.detach().clone().requires_grad_(), v.detach().flip(-1).flip(-1).requires_grad_(), *tables]
    across = [t.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for t in (q, k, v)]
    expected = results("reference", [q, k, v, *tables], geometry)
    for tensors in (apart, [*across, *tables]):
        for mine, reference in zip(results("chunked", tensors, geometry), expected, strict=True):
            torch.testing.assert_close(mine, reference, rtol=0, atol=1e-12)


def test_chunked_gradients_are_those_of_finite_differences() -> None:
    tensors, geometry = arguments((1, 4, 5, 2, 2, 2, 1))
    assert torch.autograd.gradcheck(lambda *t: halo_attention(*t, **geometry, backend="chunked"), tensors)


def test_scratch_memory_is_used_again_and_holds_nothing_over() -> None:
    """A result does not depend on what the memory was used for before, be it another map or a backward pass."""
    first, geometry = arguments((2, 13, 11, 2, 4, 4, 3))
    alone = results("chunked", first, geometry)
    other, _ = arguments((2, 13, 11, 2, 4, 4, 3))
    with torch.no_grad():
        other[0].mul_(1e6)
        other[1].data.fill_(float("nan"))
    assert results("chunked", other, geometry)[0].isnan().any()
    with torch.inference_mode():
        halo_attention(*other, **geometry, backend="chunked")
    for again, before in zip(results("chunked", first, geometry), alone, strict=True):
        assert torch.equal(again, before)


def test_many_threads_at_once_give_what_one_gives() -> None:
    """Pieces of memory are not shared while they are in use, and those that lie unused are bounded."""
    tensors, geometry = arguments((2, 30, 30, 2, 8, 8, 3), torch.float32)
    alone, wrong = results("chunked", tensors, geometry), []

    def work() -> None:
        for _ in range(5):
            mine = results("chunked", tensors, geometry)
            wrong.extend(not torch.equal(a, b) for a, b in zip(mine, alone, strict=True))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 6 * 5 * 6 and not any(wrong)


def test_a_pool_keeps_no_more_than_it_may() -> None:
    layout = scratch.Layout(1, 16, 16, 1, 8, 8, 3)
    one = scratch.Scratch(layout, (1, 2), torch.empty(0)).nbytes()
    pool = scratch.Pool(most=2 * one)
    with pool.taken(layout, (1, 2), torch.empty(0)) as a, pool.taken(layout, (1, 2), torch.empty(0)) as b:
        assert a is not b
        with pool.taken(layout, (1, 2), torch.empty(0)) as c:
            pass
    with pool.taken(layout, (1, 2), torch.empty(0)) as d, pool.taken(layout, (1, 2), torch.empty(0)) as e:
        assert {d, e} < {a, b, c}
        with pool.taken(layout, (1, 2), torch.empty(0)) as f:
            assert f not in (a, b, c)
    with pytest.raises(RuntimeError, match="halfway"), pool.taken(layout, (1, 2), torch.empty(0)) as broken:
        raise RuntimeError("halfway")
    with pool.taken(layout, (1, 2), torch.empty(0)) as g, pool.taken(layout, (1, 2), torch.empty(0)) as h:
        assert broken not in (g, h)


def test_memory_of_the_forward_pass_stays_small() -> None:
    """What is asked for besides the result does not grow with the map, once the scratch memory is there."""
    from torch.profiler import ProfilerActivity, profile

    asked = []
    for size in (40, 80):
        q, k, v, *tables = (t.detach() for t in arguments((1, size, size, 2, 32, 8, 3), torch.float32)[0])
        geometry = {"heads": 2, "block_size": 8, "halo_size": 3, "backend": "chunked"}
        kv = torch.cat([k, v], dim=-1).chunk(2, dim=-1)
        with torch.inference_mode():
            halo_attention(q, *kv, *tables, **geometry)
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
                halo_attention(q, *kv, *tables, **geometry)
        own = [e.self_cpu_memory_usage for e in seen.key_averages() if e.key != "[memory]"]
        asked.append(sum(own) - q.numel() * q.element_size())
    assert all(size < 1e5 for size in asked), asked


@pytest.mark.parametrize("backend", ["auto", "chunked", "fused"])
def test_recorded_graphs_are_the_references(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = HaloAttention(8, 4, 1, 4)
    layer.backend = backend
    x = torch.randn(1, 8, 6, 7)
    monkeypatch.setattr(chunked, "halo_attention", None)  # nothing that is recorded may come here
    traced = torch.jit.trace(layer, x, check_trace=False)
    with torch.no_grad():
        batched = torch.func.vmap(layer)(torch.stack([x, x]))
    layer.backend = "reference"
    torch.testing.assert_close(traced(x), layer(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(batched[1], layer(x), rtol=0, atol=1e-6)


def test_the_fastest_that_can_is_taken() -> None:
    layer = HaloAttention(8, 4, 1, 4)
    assert layer.extra_repr().endswith("backend=chunked")
    assert HaloAttention(8, 4, 1, 4, mask="published").extra_repr().endswith("backend=reference")
    assert layer.to(torch.bfloat16).extra_repr().endswith("backend=reference")
    layer.backend = "chunked"
    assert "backend=reference (chunked: it needs float32 or float64, not bfloat16)" in f"{layer!r}"
    layer.backend = "fused"
    assert "backend=reference (fused: " in f"{layer!r}"
    layer(torch.randn(1, 8, 6, 7, dtype=torch.bfloat16))


def test_a_choice_for_the_whole_process(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = HaloAttention(8, 4, 1, 4)
    monkeypatch.setenv("HALO_VIS_BACKEND", "reference")
    assert layer.extra_repr().endswith("backend=reference")
    monkeypatch.setenv("HALO_VIS_BACKEND", "fastest")
    with pytest.raises(ValueError, match=r"backend must be one of .*, got 'fastest'\. Use 'auto'\."):
        layer(torch.randn(1, 8, 6, 7))


def test_an_unknown_backend_states_rule_value_and_next_step() -> None:
    layer = HaloAttention(8, 4, 1, 4)
    layer.backend = "cuda"
    with pytest.raises(ValueError, match=r"backend must be one of .*'auto', 'fused', .*, got 'cuda'\. Use 'auto'\."):
        layer(torch.randn(1, 8, 6, 7))


def test_what_never_ran_on_a_gpu_has_to_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it could run."""
    monkeypatch.setattr(kernels.fused, "why_not", lambda q, **geometry: None)
    layer = HaloAttention(8, 4, 1, 4)
    assert layer.extra_repr().endswith("backend=chunked")
    layer.backend = "fused"
    assert layer.extra_repr().endswith("backend=fused")


def test_every_backend_is_offered() -> None:
    assert kernels.BACKENDS == ("auto", "fused", "chunked", "reference")
