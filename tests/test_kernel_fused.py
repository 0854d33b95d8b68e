"""The fused kernel against the reference: in the kernel language's interpreter, through its compiler, and on a GPU.

The interpreter runs where no GPU is, in float32 and float16; its bfloat16 products are wrong (they multiply bit
patterns as integers), so bfloat16 is left to the compiler's test and to a GPU. It must be switched on before the
language is imported: this file is also the script of a process of its own, which checks every case and prints JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from halo_vis.kernels import fused, reference

NAMES = ("out", "q", "k", "v", "rel_height", "rel_width")
# batch, height, width, heads, d, block, halo
CASES = [
    (1, 1, 1, 1, 8, 8, 3),
    (2, 5, 7, 2, 16, 8, 3),
    (1, 16, 16, 1, 32, 8, 3),
    (1, 20, 15, 1, 64, 8, 3),
    (1, 9, 24, 1, 20, 8, 3),  # a width that is no power of two
    (2, 9, 15, 1, 8, 4, 2),
    (1, 9, 24, 1, 8, 3, 1),
    (1, 5, 7, 4, 8, 1, 1),
    (1, 15, 9, 3, 16, 5, 0),
    (1, 9, 11, 1, 8, 2, 3),  # the halo is larger than the block
    (1, 16, 7, 1, 8, 7, 3),
    (1, 13, 14, 1, 8, 12, 2),  # more queries in a block than in a tile
    (1, 4, 25, 1, 8, 8, 20),  # more window than map
]
HALF = [(1, 9, 15, 2, 16, 8, 3), (1, 9, 11, 1, 8, 2, 3)]  # float16: logits that are added up in two parts


def results(attend, case: tuple[int, ...], dtype: torch.dtype, held: torch.dtype, device: str = "cpu") -> list[Tensor]:
    """Output and the five gradients in float64, from numbers that `held` can hold.

    Nothing is contiguous: k and v are the halves of one projection, q and the arriving gradient are transposed maps.
    """
    batch, height, width, heads, d, block, halo = case
    torch.manual_seed(0)
    q, g = (torch.randn(batch, width, height, heads * d) for _ in range(2))
    kv = torch.randn(batch, height, width, 2 * heads * d)
    tables = torch.randn(2, 2 * (block + 2 * halo) - 1, d) / 2
    q, kv, tables, g = (t.to(held).to(device, dtype) for t in (q, kv, tables, g))
    leaves = [t.requires_grad_() for t in (q, kv, tables)]
    out = attend(q.transpose(1, 2), *kv.chunk(2, -1), *tables, heads=heads, block_size=block, halo_size=halo)
    out.backward(g.transpose(1, 2))
    grads = (leaves[0].grad.transpose(1, 2), *leaves[1].grad.chunk(2, -1), *leaves[2].grad)
    return [t.detach().double().cpu() for t in (out, *grads)]


def worst(actual: list[Tensor], expected: list[Tensor]) -> dict[str, float]:
    """Largest difference of each, relative to the largest value of the expected; 1 stands for all below 1."""
    scales = [max(float(e.abs().max()), 1.0) for e in expected]
    return {n: float((a - e).abs().max()) / s for n, a, e, s in zip(NAMES, actual, expected, scales, strict=True)}


def interpreted() -> dict:
    """What the process with the interpreter finds; see the tests of the same names."""
    found = {"float32": [], "float16": []}
    for cases, dtype, name in ((CASES, torch.float32, "float32"), (HALF, torch.float16, "float16")):
        for case in cases:
            expected = results(reference.halo_attention, case, torch.float64, dtype)
            found[name].append(worst(results(fused.halo_attention, case, dtype, dtype), expected))

    case = (1, 9, 17, 1, 8, 8, 3)
    once = results(fused.halo_attention, case, torch.float32, torch.float32)
    most, fused.MOST_SHARES = fused.MOST_SHARES, 2  # three tiles a program
    found["few shares"] = worst(results(fused.halo_attention, case, torch.float32, torch.float32), once)
    fused.MOST_SHARES = most
    again = results(fused.halo_attention, case, torch.float32, torch.float32)
    found["same bits"] = [torch.equal(a, b) for a, b in zip(again, once, strict=True)]

    def plain(q: Tensor, *rest: Tensor) -> Tensor:
        """The dispatcher's question inside, so that it must trace as well."""
        sizes = {"heads": 2, "block_size": 4, "halo_size": 1}
        assert fused.why_not(q, **sizes, mask="valid") is None
        return fused.halo_attention(q, *rest, **sizes)

    q, k, v = torch.randn(3, 1, 5, 6, 16)
    tables = torch.randn(2, 11, 8)
    compiled = torch.compile(plain, fullgraph=True, backend="aot_eager")
    sides = []
    for run in (plain, compiled):
        leaves = [t.clone().requires_grad_() for t in (q, k, v, *tables)]
        out = run(*leaves)
        out.sum().backward()  # a gradient of stride zero
        sides.append([t.detach().double() for t in (out, *(leaf.grad for leaf in leaves))])
    found["compiled"] = worst(*sides)
    with torch.no_grad():
        found["no_grad"] = torch.equal(plain(q, k, v, *tables).double(), sides[0][0])
    with torch.inference_mode():
        found["inference_mode"] = torch.equal(plain(q, k, v, *tables).double(), sides[0][0])
    inputs = [t.clone().requires_grad_() for t in (q, k, v, *tables)]
    found["opcheck"] = torch.library.opcheck(fused._attend, (*inputs, 2, 4, 1))

    far = [torch.zeros(1, 3, 3, 8) for _ in range(3)]
    far[0] += 1e15
    far[2] += 1.0
    tables = torch.full((2, 27, 8), -1.0)
    out = fused.halo_attention(*far, *tables, heads=1, block_size=8, halo_size=3)
    found["huge logits"] = float((out - 1).abs().max())
    empty = fused.halo_attention(*(t[:0].requires_grad_() for t in far), *tables, heads=1, block_size=8, halo_size=3)
    empty.sum().backward()
    found["no picture"] = list(empty.shape)
    return found


@pytest.fixture(scope="module")
def found() -> dict:
    pytest.importorskip("triton", reason="the package triton is not installed")
    root = Path(__file__).parent.parent
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda i: "-".join(map(str, CASES[i])))
def test_float32_agrees_with_the_reference_in_float64(found, case, name):
    assert found["float32"][case][name] < 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", range(len(HALF)), ids=lambda i: "-".join(map(str, HALF[i])))
def test_float16_agrees_with_the_reference_in_float64(found, case, name):
    assert found["float16"][case][name] < 2e-3


def test_programs_that_share_a_tables_gradient_sum_the_same(found):
    assert max(found["few shares"].values()) < 1e-6


def test_the_same_call_gives_the_same_bits(found):
    assert found["same bits"] == [True] * len(NAMES)


def test_it_compiles_into_one_graph_with_its_backward(found):
    assert max(found["compiled"].values()) < 1e-6


def test_without_gradients_it_gives_the_same(found):
    assert found["no_grad"] and found["inference_mode"]


def test_the_operator_is_what_torch_expects(found):
    assert found["opcheck"] and set(found["opcheck"].values()) == {"SUCCESS"}


def test_huge_logits_leave_no_trace_of_the_padding(found):
    assert found["huge logits"] < 1e-6


def test_a_batch_of_no_pictures(found):
    assert found["no picture"] == [0, 3, 3, 8]


# --- the compiler, without a GPU ---


@pytest.mark.parametrize("name", ["forward", "backward_queries", "backward_keys"])
@pytest.mark.parametrize(("capability", "d"), [(90, 32), (80, 64)], ids=["sm_90-d32", "sm_80-d64"])
def test_it_compiles_to_machine_code(name, capability, d):
    """What the interpreter does not see: tile sizes, constants, types, shared memory. bfloat16, block 8, halo 3."""
    triton = pytest.importorskip("triton", reason="the package triton is not installed")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("TRITON_INTERPRET=1 replaces the compiler")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from halo_vis.kernels import fused_backward, fused_forward

    tuner = fused_forward.forward if name == "forward" else getattr(fused_backward, name)
    kernel, configuration = tuner.fn, tuner.configs[0]
    common, queries, keys = fused._sizes(d, 4, 8, 3, torch.bfloat16, "tf32")
    sizes = common | {"LOGIT_SCALE": d**-0.5} | (keys if name == "backward_keys" else queries) | configuration.kwargs
    types = {
        "log_sum": "*fp32",
        "delta": "*fp32",
        "grad_tables": "*fp32",
        "height": "i32",
        "width": "i32",
        "tiles": "i32",
        "beyond": "i32",
    }
    signature, aligned = {}, {}
    for i, argument in enumerate(kernel.arg_names):
        stride = argument.endswith(("_batch", "_row", "_col"))
        signature[argument] = "constexpr" if argument in sizes else types.get(argument, "i32" if stride else "*bf16")
        if argument not in sizes and (stride or signature[argument].startswith("*")):
            aligned[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, {n: s for n, s in sizes.items() if n in kernel.arg_names}, aligned)
    options = {"num_warps": configuration.num_warps, "num_stages": configuration.num_stages}
    options["enable_fp_fusion"] = sizes["enable_fp_fusion"]
    program = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert len(program.asm["cubin"]) > 1000
    assert ("wgmma.mma_async" if capability == 90 else "mma.sync") in program.asm["ptx"]
    assert program.metadata.shared <= {90: 227, 80: 163}[capability] * 1024


# --- a GPU ---

LARGE = [(2, 80, 80, 2, 32, 8, 3), (2, 24, 20, 8, 64, 8, 3), (1, 30, 40, 4, 128, 8, 3), (1, 40, 40, 2, 32, 16, 4)]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the kernel runs in the interpreter alone")


@gpu
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)], ids=str
)
@pytest.mark.parametrize("case", [*CASES, *LARGE], ids=lambda case: "-".join(map(str, case)))
def test_a_gpu_agrees_with_the_reference(case, dtype, tolerance):
    expected = results(reference.halo_attention, case, torch.float64, dtype)
    errors = worst(results(fused.halo_attention, case, dtype, dtype, "cuda"), expected)
    assert max(errors.values()) < tolerance, errors


@gpu
def test_a_gpu_gives_the_same_bits_again():
    case = (2, 80, 80, 2, 32, 8, 3)
    runs = [results(fused.halo_attention, case, torch.bfloat16, torch.bfloat16, "cuda") for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


@gpu
def test_a_gpu_needs_memory_in_proportion_to_the_map():
    """Forward and backward keep and make less than twenty maps; the reference's windows and weights alone are more."""
    q, k, v = (torch.randn(1, 320, 320, 128, device="cuda", dtype=torch.bfloat16).requires_grad_() for _ in range(3))
    tables = [torch.randn(27, 32, device="cuda", dtype=torch.bfloat16).requires_grad_() for _ in range(2)]
    run = lambda: fused.halo_attention(q, k, v, *tables, heads=4, block_size=8, halo_size=3)  # noqa: E731 - twice
    run().sum().backward()  # what is measured once to choose tiles is not of the kernel
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run().sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 20 * q.numel() * 2


# --- where it does not run ---


def asked(q: Tensor, **changed) -> str | None:
    return fused.why_not(q, **({"heads": 2, "block_size": 8, "halo_size": 3, "mask": "valid"} | changed))


@pytest.mark.parametrize(
    ("shape", "dtype", "changed", "says"),
    [
        ((1, 4, 4, 64), torch.float32, {"mask": "published"}, "mask 'published'"),
        ((1, 4, 4, 64), torch.float64, {}, "no kernel for float64"),
        ((1, 4, 4, 512), torch.float32, {}, "heads of 256 are wider than 128"),
        ((1, 4, 4, 64), torch.float32, {"block_size": 60, "halo_size": 10}, "make 139 offsets, more than 128"),
        ((1, 2**14, 2**14, 64), torch.float32, {}, "a map of 16384 x 16384 cells"),
        ((1, 4, 4, 64), torch.float32, {}, None),
    ],
    ids=str,
)
def test_it_says_why_not(monkeypatch, shape, dtype, changed, says):
    monkeypatch.setattr(fused, "_INTERPRETED", True)
    monkeypatch.setattr(fused, "_INSTALLED", True)
    reason = asked(torch.empty(1, dtype=dtype).expand(shape), **changed)
    assert reason is None if says is None else says in reason


def test_cpu_tensors_need_the_interpreter(monkeypatch):
    monkeypatch.setattr(fused, "_INTERPRETED", False)
    monkeypatch.setattr(fused, "_INSTALLED", True)
    q, rel = torch.randn(1, 4, 4, 64), torch.randn(27, 32)
    assert "CPU tensors need the interpreter" in asked(q)
    assert "NVIDIA GPU" in asked(q.to("meta"))
    with pytest.raises(NotImplementedError, match=r"CPU tensors need .* Use halo_vis\.attention\.halo_attention"):
        fused.halo_attention(q, q, q, rel, rel, heads=2, block_size=8, halo_size=3)


@pytest.mark.parametrize(
    ("k", "rel", "says"),
    [
        (torch.zeros(1, 4, 5, 64), torch.zeros(27, 32), "one shape"),
        (torch.zeros(1, 4, 4, 64), torch.zeros(27, 16), r"tables of \(27, d\), .* \(27, 16\)"),
        (torch.zeros(1, 4, 4, 64).half(), torch.zeros(27, 32), "one type"),
    ],
    ids=["shape", "table", "type"],
)
def test_arguments_that_do_not_fit_are_refused(monkeypatch, k, rel, says):
    monkeypatch.setattr(fused, "_INTERPRETED", True)
    monkeypatch.setattr(fused, "_INSTALLED", True)
    q = torch.zeros(1, 4, 4, 64)
    with pytest.raises(ValueError, match=says):
        fused.halo_attention(q, k, q, rel, rel, heads=2, block_size=8, halo_size=3)


def test_without_the_kernel_language_the_module_imports_and_says_so():
    code = (
        "import sys; sys.modules['triton'] = None; import torch; from halo_vis.kernels import fused; "
        "print(fused.why_not(torch.zeros(1, 4, 4, 64), heads=2, block_size=8, halo_size=3, mask='valid'))"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "the package triton is not installed"


@pytest.mark.parametrize(("side", "halo", "owners"), [(8, 3, 8), (8, 4, 8), (8, 2, 8), (7, 3, 7)])
def test_a_square_of_keys_is_reached_by_two_squares_of_queries_along_an_axis(side, halo, owners):
    shift = fused.shift_of_keys(side, halo, owners)
    for first in range(side - shift, 20 * side, side):
        reaching = [n for n in range(40) if n * owners - halo < first + side and first < (n + 1) * owners + halo]
        assert len(reaching) == 2


if __name__ == "__main__":
    print(json.dumps(interpreted()))
