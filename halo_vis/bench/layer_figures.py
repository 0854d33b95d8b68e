"""What the layer's times and memory come to: figures, targets, and the bound that matrix products set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from halo_vis.bench.peak import peak
from halo_vis.bench.peers import GLOBAL, HALONET, OURS, PEERS
from halo_vis.bench.report import Figure
from halo_vis.bench.shapes import Shape

# The targets: over halonet-pytorch, over any peer of the same function, of its memory.
OVER_HALONET, OVER_ANY, OF_ITS_MEMORY = 3.0, 1.0, 0.25
TOGETHER, MEMORY = "Together", "Peak memory of one forward pass"
MIB = 2**20


@dataclass(frozen=True)
class Timed:
    """One shape.

    Attributes:
        seconds: median of each contender that ran; empty where our layer itself cannot.
        notes: why another did not.
        rate: FLOP/s of the machine's matrix product in the same rounds.
        compilation: seconds from FlexAttention's first call to its result, checks included; None: not compiled.
    """

    shape: Shape
    seconds: dict[str, float]
    notes: dict[str, str]
    rate: float
    compilation: float | None

    @property
    def ideal(self) -> float:
        """Seconds that our layer's matrix products would take at the machine's rate."""
        return self.shape.products() / self.rate


class Refuses(Protocol):
    """Whoever knows what the machine cannot do."""

    missing: dict[str, str]

    def refused(self, name: str, shape: Shape) -> str:
        """Why a contender cannot be run; "" if it can."""


def shape_figures(timed: Timed) -> list[Figure]:
    """Times, ratios to ours, and our share of the machine's rate."""
    group, ours = timed.shape.title, timed.seconds.get(OURS)
    if ours is None:
        return [Figure(group, OURS, None, "ms", note=timed.notes[OURS])]
    names = [name for name in PEERS if name in timed.seconds or name in timed.notes]
    found = [Figure(group, OURS, ours * 1e3, "ms")]
    for name in names:
        seconds = timed.seconds.get(name)
        found.append(Figure(group, name, seconds and seconds * 1e3, "ms", note=timed.notes.get(name, "")))
    for name in (name for name in names if name in timed.seconds):
        target = OVER_ANY if PEERS[name].same else None
        found.append(Figure(group, f"{name} / {OURS}", timed.seconds[name] / ours, "", target, least=True))
    found.append(Figure(group, f"{OURS}: matrix products", timed.shape.products() / 1e9, "GFLOP"))
    found.append(Figure(group, f"{OURS}: share of the machine's rate", 100 * timed.ideal / ours, "%"))
    if timed.compilation is not None:
        note = "not in the times; less where an earlier run was kept"
        found.append(Figure(group, "FlexAttention: compilation", timed.compilation, "s", note=note))
    return found


def together(groups: Iterable[tuple[list[Timed], bool]]) -> list[Figure]:
    """Groups of shapes whose times are added up, and the closest peer of all.

    Args:
        groups: the shapes, and whether the target holds for them.
    """
    found, closest = [], []
    for timed, wanted in groups:
        found += _sum(timed, OVER_HALONET if wanted else None)
        for one in timed:
            same = [name for name in one.seconds if name in PEERS and PEERS[name].same]
            closest += [(one.seconds[name] / one.seconds[OURS], name, one.shape) for name in same]
    name = f"closest peer of the same function / {OURS}"
    if not closest:
        return [*found, Figure(TOGETHER, name, None, "", OVER_ANY, least=True, note="no such peer ran")]
    ratio, peer, shape = min(closest, key=lambda one: one[0])
    return [*found, Figure(TOGETHER, name, ratio, "", OVER_ANY, least=True, note=f"{peer}; {shape.title}")]


def _sum(timed: list[Timed], target: float | None) -> list[Figure]:
    first = timed[0].shape
    what = "forward and backward" if first.backward else "forward"
    where = first.level.split(" of ")[-1]
    maps = f"three maps of {where}" if len(timed) > 1 else f"{where} on P3"
    name = f"{maps}, batch {first.batch}, {what}"
    if refused := [one.notes[OURS] for one in timed if OURS not in one.seconds]:
        return [Figure(TOGETHER, f"{name}: {OURS}", None, "ms", note=refused[0])]
    ours, ideal = sum(one.seconds[OURS] for one in timed), sum(one.ideal for one in timed)
    without = [one.notes.get(HALONET, "not installed") for one in timed if HALONET not in one.seconds]
    found = [Figure(TOGETHER, f"{name}: {OURS}", ours * 1e3, "ms")]
    if without:
        found.append(Figure(TOGETHER, f"{name}: {HALONET} / {OURS}", None, "", target, least=True, note=without[0]))
    else:
        theirs = sum(one.seconds[HALONET] for one in timed)
        found.append(Figure(TOGETHER, f"{name}: {HALONET}", theirs * 1e3, "ms"))
        found.append(Figure(TOGETHER, f"{name}: {HALONET} / {OURS}", theirs / ours, "", target, least=True))
        found.append(Figure(TOGETHER, f"{name}: that ratio if matrix products were all", theirs / ideal, ""))
    found.append(Figure(TOGETHER, f"{name}: share of the machine's rate", 100 * ideal / ours, "%"))
    return found


def memory_figures(shapes: list[Shape], bench: Refuses, threads: int) -> list[Figure]:
    """Peak memory of ours and of halonet-pytorch, and their ratio."""
    found = []
    for shape in shapes:
        size = f"{shape.height} x {shape.width} x {shape.dim}, batch {shape.batch}"
        taken: dict[str, int | None] = {}
        for name in (OURS, HALONET):
            why = "not installed" if bench.missing.get(name, "") else bench.refused(name, shape)
            why = "" if why.startswith("skipped") else why
            taken[name] = None if why else peak(name, shape, threads)
            value = taken[name] and taken[name] / MIB
            found.append(Figure(MEMORY, f"{size}: {name}", value, "MiB", note=why))
        known = None not in taken.values() and taken[HALONET] > 0
        ratio = taken[OURS] / taken[HALONET] if known else None
        found.append(Figure(MEMORY, f"{size}: {OURS} / {HALONET}", ratio, "", OF_ITS_MEMORY))
    return found


def local_figures(timed: list[Timed]) -> list[Figure]:
    """Local against global attention, map by map."""
    found = []
    for one in timed:
        shape = one.shape
        group = f"Local against {GLOBAL}: {shape.dim} channels, {shape.heads} heads of {shape.dim_head}, batch 1"
        size = f"{shape.height} x {shape.width}"
        found.append(Figure(group, f"{size}: {OURS}", one.seconds[OURS] * 1e3, "ms"))
        if GLOBAL not in one.seconds:
            found.append(Figure(group, f"{size}: {GLOBAL}", None, "ms", note=one.notes.get(GLOBAL, "")))
            continue
        found.append(Figure(group, f"{size}: {GLOBAL}", one.seconds[GLOBAL] * 1e3, "ms"))
        found.append(Figure(group, f"{size}: {GLOBAL} / {OURS}", one.seconds[GLOBAL] / one.seconds[OURS], ""))
    return found
