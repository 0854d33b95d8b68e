"""The layer's bench: peers compute what the table says they do, FLOPs are counted right, and every figure is there."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from halo_vis.bench.flex import FlexHalo
from halo_vis.bench.layer import Plan, _Bench, run
from halo_vis.bench.layer_figures import Timed, memory_figures, shape_figures, together
from halo_vis.bench.peers import FLEX, GLOBAL, HALONET, NATTEN, OURS, PEERS, TIMM, TOLERANCE, compiler
from halo_vis.bench.report import Figure, table
from halo_vis.bench.rounds import interleaved, medians
from halo_vis.bench.shapes import Shape, article, levels

LINUX = sys.platform.startswith("linux")
SHAPES = [
    pytest.param(Shape("", 16, 24, 64, 2), id="divides"),
    pytest.param(Shape("", 15, 20, 24, 3, 16, 2, 4, 1), id="odd-size-4+1"),
    pytest.param(Shape("", 8, 8, 16, 8, 64), id="one-block-article-heads"),
    pytest.param(Shape("", 9, 7, 12, 2, 8, 1, 2, 3), id="2+3-halo-beyond-the-neighbour"),
]
PLAN = Plan(
    sizes=((128, 128),),
    batches=(1,),
    sides=(4, 12),
    seconds=0.02,
    most=3,
    threads=1,
    longest=1e6,
    peers=(HALONET, FLEX, TIMM, GLOBAL),
)


@pytest.fixture(autouse=True)
def seeded():
    """The same weights and maps in every run, one thread, and neither left to the next test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


# ------------------------------------------------------------------ peers


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_peers_agree_where_they_must(shape: Shape, name: str) -> None:
    peer = PEERS[name]
    if name == NATTEN and peer.missing():
        pytest.skip(f"natten is not installed ({peer.missing()})")
    layer, x = shape.layer(), shape.map()
    model = FlexHalo(layer, shape.height, shape.width, compiled=False) if name == FLEX else None
    backward = peer.backward and peer.same
    assert peer.difference(layer, x, model, backward) < TOLERANCE / 10


def test_flex_attention_agrees_when_compiled() -> None:
    if not compiler():
        pytest.skip("no C++ compiler")
    shape = Shape("", 15, 20, 24, 3, 16, 2, 4, 1)
    layer, x = shape.layer(), shape.map()
    assert PEERS[FLEX].difference(layer, x, PEERS[FLEX].build(layer, 15, 20)) < TOLERANCE / 10


@pytest.mark.parametrize("name", [HALONET, TIMM])
@pytest.mark.parametrize("weight", ["to_q", "to_kv", "to_out", "rel_height", "rel_width"])
def test_a_peer_with_another_weight_is_found_out(name: str, weight: str) -> None:
    """The comparison sees every weight: content, both positions, output."""
    shape = Shape("", 24, 24, 16, 2, 8, 1, 8, 3)
    layer, x = shape.layer(), shape.map()
    other = shape.layer()
    other.load_state_dict(layer.state_dict())
    with torch.no_grad():
        table_ = getattr(other.rel_pos_emb, weight, None)
        (getattr(other, weight).weight if table_ is None else table_).mul_(1.05)
    model = PEERS[name].build(other, 24, 24)
    peer = replace(PEERS[name], build=lambda *_: model)
    assert PEERS[name].difference(layer, x) < TOLERANCE < peer.difference(layer, x)


@pytest.mark.parametrize("name", [TIMM, GLOBAL])
def test_peers_that_do_less_differ_from_our_layer(name: str) -> None:
    """What the table says they leave out shows: on the whole map they are something else."""
    shape = Shape("", 24, 24, 16, 2, 8, 1, 8, 3)
    layer, x = shape.layer(), shape.map()
    assert not PEERS[name].same
    peer = replace(PEERS[name], common=lambda layer, x: (layer, x, 0))
    assert peer.difference(layer, x) > 100 * TOLERANCE


# ------------------------------------------------------------------ FLOPs


def test_products_against_a_count_by_hand() -> None:
    shape = Shape("", 5, 3, 6, 2, 3, 2, 2, 1)
    d, w, multiplications = 3, 4, 0
    for _map in range(2):
        for _cell in range(5 * 3):
            multiplications += 4 * 6 * (2 * d)  # q, k, v, output
        for _block in range(3 * 2):
            for _query in range(2 * 2):
                for _head in range(2):
                    for _key in range(w * w):
                        multiplications += d  # q k
                        multiplications += d  # a v
                    multiplications += w * d  # rows
                    multiplications += w * d  # columns
    assert shape.products() == 2 * multiplications
    assert replace(shape, backward=True).products() == 3 * shape.products()


def test_products_against_torchs_counter() -> None:
    """halonet-pytorch attends with the same products, and projects windows, and takes 2 w - 1 offsets, not w."""
    shape = Shape("", 16, 24, 12, 2, 8)
    windows, w = 6 * 14 * 14, 14
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        PEERS[HALONET].build(shape.layer(), 16, 24)(shape.map())
    more = 2 * (windows - shape.cells) * 12 * 2 * shape.inner + 2 * shape.cells * shape.inner * 2 * (w - 1)
    assert counter.get_total_flops() == shape.products() + more
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        PEERS[GLOBAL].build(shape.layer(), 16, 24)(shape.map())
    assert counter.get_total_flops() in (shape.global_products(), shape.projections())  # some versions skip the CPU's


def test_shapes_of_yolo26() -> None:
    cells = [(s.height, s.width, s.dim, s.heads, s.dim_head) for s in levels((640, 640), "x")]
    assert cells == [(80, 80, 384, 12, 32), (40, 40, 768, 24, 32), (20, 20, 768, 24, 32)]
    assert (article((640, 640)).heads, article((640, 640)).dim_head) == (8, 64)
    groups = [[s.title for s in group] for group in Plan().shapes()]
    assert len(groups) == 6 and sum(map(len, groups)) == 16
    assert groups[3][2] == "P5 of n at 480x640, 15 x 20 x 256, 8 heads of 32, batch 16: forward"
    assert groups[4][0].endswith("batch 1: forward and backward")
    more = [s for group in Plan(full=True).shapes()[6:] for s in group]
    assert [(s.height, s.dim) for s in more][::3] == [(80, 384), (160, 64), (160, 384)]


# ------------------------------------------------------------------ turns


def test_contenders_take_turns() -> None:
    order = []
    contenders = {name: lambda name=name: order.append(name) for name in "abc"}
    taken = interleaved(contenders, seconds=60, most=6)
    assert {name: len(times) for name, times in taken.items()} == dict.fromkeys("abc", 6)
    turns = ["".join(order[n : n + 3]) for n in range(6, len(order), 3)]  # the first six do not count
    assert turns == ["abc", "acb", "cab", "cba", "bca", "bac"]


def test_a_contender_without_time_for_more_runs_three_times() -> None:
    taken = interleaved({"a": lambda: torch.ones(10), "b": lambda: torch.ones(20)}, seconds=1e-9, most=50)
    assert [len(times) for times in taken.values()] == [3, 3]
    assert medians({"a": [3.0, 1.0, 2.0]}) == {"a": 2.0}
    with pytest.raises(ValueError, match="at least one contender"):
        interleaved({}, 1.0, 3)


# ------------------------------------------------------------------ figures


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The bench at its smallest, FlexAttention uncompiled; what it wrote."""
    out = tmp_path_factory.mktemp("bench") / "layer.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", "no-such-compiler")
        assert run(PLAN, out) == 0
    return json.loads(out.read_text())


def _by_name(written: dict, group: str) -> dict[str, dict]:
    return {f["name"]: f for f in written["figures"] if f["group"].split(":")[0] == group or f["group"] == group}


def test_every_shape_has_every_contender(benched: dict) -> None:
    for shape in (shape for group in PLAN.shapes() for shape in group):
        found = _by_name(benched, shape.title)
        assert found[OURS]["value"] > 0 and found[OURS]["unit"] == "ms"
        for name in PLAN.peers:
            if shape.backward and not PEERS[name].backward:
                assert found[name]["value"] is None and found[name]["note"] == "no backward on the CPU"
                continue
            assert found[name]["value"] > 0, found[name]
            ratio = found[f"{name} / {OURS}"]
            assert ratio["value"] == pytest.approx(found[name]["value"] / found[OURS]["value"])
            assert ratio["target"] == (1.0 if name in (HALONET, FLEX) else None) and ratio["least"]
        assert found[f"{OURS}: matrix products"]["value"] == shape.products() / 1e9
        assert found[f"{OURS}: share of the machine's rate"]["value"] > 0


def test_sums_have_their_targets(benched: dict) -> None:
    found = _by_name(benched, "Together")
    for maps, first in (
        ("three maps of n at 128, batch 1, forward", "P3 of n at 128"),
        ("three maps of n at 128, batch 1, forward and backward", "P3 of n at 128"),
        ("article's defaults on P3, batch 1, forward", "article's defaults"),
    ):
        ratio = found[f"{maps}: {HALONET} / {OURS}"]
        assert (ratio["target"], ratio["least"], ratio["met"]) == (3.0, True, ratio["value"] >= 3.0), first
        assert found[f"{maps}: that ratio if matrix products were all"]["value"] > 0
        share = found[f"{maps}: share of the machine's rate"]["value"] / 100
        bound = found[f"{maps}: that ratio if matrix products were all"]["value"]
        assert ratio["value"] == pytest.approx(bound * share)
    closest = found[f"closest peer of the same function / {OURS}"]
    ratios = [f["value"] for f in benched["figures"] if f["target"] == 1.0 and f is not closest]
    assert closest["target"] == 1.0 and closest["value"] == min(ratios)


def test_memory_maps_and_machine(benched: dict) -> None:
    memory = _by_name(benched, "Peak memory of one forward pass")
    ratio = memory[f"16 x 16 x 64, batch 1: {OURS} / {HALONET}"]
    assert ratio["target"] == 0.25 and not ratio["least"]
    if LINUX:
        theirs = memory[f"16 x 16 x 64, batch 1: {HALONET}"]["value"]
        assert theirs * 2**20 > 4 * 14 * 14 * 64 * 4  # its windows alone
        assert ratio["value"] == pytest.approx(memory[f"16 x 16 x 64, batch 1: {OURS}"]["value"] / theirs)
    local = _by_name(benched, "Local against global attention")
    assert [name for name in local if "/" in name] == [f"{n} x {n}: {GLOBAL} / {OURS}" for n in (4, 12)]
    assert _by_name(benched, "The machine")["matrix product of 1024 x 1024, median"]["value"] > 0


def test_facts_say_what_each_peer_is(benched: dict) -> None:
    facts = benched["machine"]
    assert facts[HALONET].startswith("0.0.5; the same function; differs by at most ")
    assert facts[TIMM].partition("; ")[2].startswith("does less; differs by at most ")
    assert facts[FLEX].endswith("NOT COMPILED: no C++ compiler found")
    assert "something else" in facts[GLOBAL] and NATTEN not in facts
    assert "block_size=8" in facts["layer"] and "1 threads" in facts["computed"]


def test_what_cannot_run_is_printed_as_such() -> None:
    bench = _Bench(replace(PLAN, longest=1e-9, peers=(HALONET, GLOBAL)))
    shape = Shape("P3", 16, 16, 16, 1, 16)
    timed = bench.timed(shape)
    assert set(timed.seconds) == {OURS} and timed.notes[GLOBAL].startswith("skipped: one run would take some ")
    text = table({}, [*shape_figures(timed), *together([([timed], True)])])
    assert text.count("skipped: one run") == 3 and "no such peer ran" in text

    # A map that fits in no machine: neither made nor run, told with the estimate.
    huge = replace(shape, height=10**6, width=10**6)
    refused = bench.timed(huge)
    assert not refused.seconds and refused.notes[OURS].startswith("too large for this machine: about ")
    lines = table({}, [*shape_figures(refused), *together([([refused], True)]), *memory_figures([huge], bench, 1)])
    assert lines.count("too large for this machine") == 4


def test_a_peer_that_fails_or_differs_is_not_timed() -> None:
    bench = _Bench(replace(PLAN, peers=(HALONET,)))
    shape = Shape("P3", 16, 16, 16, 1, 16, halo_size=0)
    assert bench.timed(shape).notes[HALONET] == ("cannot run this: AssertionError: halo size must be greater than 0")
    shape = replace(shape, halo_size=3)
    wrong = replace(PEERS[HALONET], build=PEERS[TIMM].build)
    found, _ = bench._peer(wrong, shape, shape.layer(), shape.map())
    assert isinstance(found, str) and found.startswith("not timed: differs from our layer by ")


def test_sums_without_halonet() -> None:
    shape = Shape("P3 of n at 640", 80, 80, 64, 2)
    timed = Timed(shape, {OURS: 0.01, FLEX: 0.02, GLOBAL: 0.001}, {}, 1e11, None)
    found = {f.name: f for f in together([([timed], True)])}
    ratio = found[f"n at 640 on P3, batch 1, forward: {HALONET} / {OURS}"]
    assert (ratio.value, ratio.note, ratio.target) == (None, "not installed", 3.0)
    closest = found[f"closest peer of the same function / {OURS}"]
    assert closest.value == 2.0 and closest.note.startswith(FLEX)  # global attention is another function


def test_notes_in_the_table() -> None:
    figures = [Figure("G", "a", None, "ms", note="why not"), Figure("G", "b", 2.0, "ms", 3.0, note="how")]
    assert table({}, figures).splitlines() == [
        "",
        "G",
        "  a  why not",
        "  b           2 ms         under 3          met  (how)",
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"batches": ()}, "batches must be at least 1"),
        ({"sizes": ((640, 0),)}, "sizes must be at least 1"),
        ({"seconds": 0}, "seconds must be more than 0"),
        ({"longest": float("nan")}, "longest must be more than 0"),
        ({"peers": ("swin",)}, "peers must be of .* got 'swin'"),
    ],
)
def test_plans_that_give_no_figure(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Plan(**change)


def test_the_command_line_of_a_measurement(tmp_path: Path) -> None:
    """A contender that does not exist ends with an error that says so, not with a number."""
    from halo_vis.bench.peak import peak

    with pytest.raises(RuntimeError, match="the memory of swin was not measured"):
        peak("swin", Shape("", 8, 8, 8, 1, 8), 1)
