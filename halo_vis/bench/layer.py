"""The layer against its peers: time, memory, and what the machine's own matrix products allow."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from ultralytics import __version__ as ultralytics_version

from halo_vis import __version__
from halo_vis.bench.layer_figures import Timed, local_figures, memory_figures, shape_figures, together
from halo_vis.bench.peak import available
from halo_vis.bench.peers import FLEX, GLOBAL, OURS, PEERS, TOLERANCE, Peer, compiler, our_floats
from halo_vis.bench.report import Figure, as_json, load, machine, table
from halo_vis.bench.rounds import interleaved, medians
from halo_vis.bench.shapes import CHANNELS, Shape, article, levels

MATRIX = 1024  # rows and columns of the machine's own matrix product
RATE = f"sgemm {MATRIX}"
BYTES = 4  # of a float32
# Of the free memory. And what the tensors kept for the gradients add to those of a forward pass.
MEMORY_SHARE, BACKWARD_MEMORY = 0.8, 3


@dataclass(frozen=True)
class Plan:
    """What is measured, and how long.

    Attributes:
        sizes: height and width of pictures; the first one's figures have the targets.
        batches: maps at a time, forward.
        sides: of the square maps on which local and global attention are compared.
        seconds: of timed runs for each shape; every contender runs at least three times.
        most: timed runs of a contender at a shape.
        threads: of torch.
        longest: a peer that is expected to take more seconds for one run is skipped.
        peers: of PEERS.
        channels_last: maps in that memory format, as the models run; else contiguous.
        memory: whether peak memory is measured, a process for each figure.
        full: the channels of YOLO26x, and 1280 pixels, too.
    """

    sizes: tuple[tuple[int, int], ...] = ((640, 640), (480, 640))
    batches: tuple[int, ...] = (1, 16)
    sides: tuple[int, ...] = (20, 40, 80, 160)
    seconds: float = 3.0
    most: int = 40
    threads: int = 2
    longest: float = 1.0
    peers: tuple[str, ...] = tuple(PEERS)
    channels_last: bool = False
    memory: bool = True
    full: bool = False

    def __post_init__(self) -> None:
        """Refuse what gives no figure."""
        numbers = {"threads": (self.threads,), "batches": self.batches, "sides": self.sides, "most": (self.most,)}
        numbers["sizes"] = tuple(side for size in self.sizes for side in size)
        for name, values in numbers.items():
            if not values or min(values) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}. Pass 1 or more.")
        for name in ("seconds", "longest"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}. Pass seconds.")
        if unknown := [name for name in self.peers if name not in PEERS]:
            raise ValueError(f"peers must be of {tuple(PEERS)}, got {unknown[0]!r}. Leave it out.")

    def shapes(self) -> list[list[Shape]]:
        """What is timed, in groups whose times are also added up."""
        groups = [levels(size, batch=batch) for size in self.sizes for batch in self.batches]
        groups += [levels(self.sizes[0], backward=True), [article(self.sizes[0])]]
        if self.full:
            height, width = self.sizes[0]
            groups += [levels((height * m, width * m), scale) for m, scale in ((1, "x"), (2, "n"), (2, "x"))]
        return groups


def run(plan: Plan, out: Path | None = None) -> int:
    """Measure, print the table, write the JSON; returns 0, also where a target is missed: the table says so."""
    facts, figures = measure(plan)
    print(table(facts, figures))
    if out:
        out.write_text(json.dumps(as_json(facts, figures), indent=1), encoding="utf-8")
    return 0


def measure(plan: Plan) -> tuple[dict[str, str], list[Figure]]:
    """Every figure, and what it was measured on."""
    facts = machine() | {"halo_vis": __version__, "ultralytics": ultralytics_version, "torch": torch.__version__}
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            bench = _Bench(plan)
            figures = bench.figures()
    finally:
        torch.set_num_threads(threads)
    form = "channels_last" if plan.channels_last else "contiguous"
    facts["computed"] = f"float32 on the CPU, {plan.threads} threads, {form} maps; forward in inference mode"
    facts["layer"] = bench.layer
    facts["timing"] = (
        f"medians of interleaved runs, {plan.seconds:g} s a shape, from 3 to {plan.most} runs of each contender"
    )
    return facts | bench.peers() | {"load after": load()}, figures


class _Bench:
    """One run of the bench."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.missing = {name: PEERS[name].missing() for name in plan.peers}
        self.worst: dict[str, float] = {}
        self.layer = ""
        self.left, self.right = torch.randn(2, MATRIX, MATRIX)
        self.out = torch.empty(MATRIX, MATRIX)
        self.rates = self._rates(interleaved({RATE: self.product}, plan.seconds / 10, plan.most)[RATE])

    def product(self) -> Tensor:
        """The machine's own matrix product."""
        return torch.mm(self.left, self.right, out=self.out)

    def figures(self) -> list[Figure]:
        """All, in the order of the table."""
        each, sums = [], []
        groups = self.plan.shapes()
        for number, group in enumerate(groups):
            timed = [self.timed(shape) for shape in group]
            each += [figure for one in timed for figure in shape_figures(one)]
            sums.append((timed, number == 0 or group[0].backward or len(group) == 1))
        found = together(sums)
        if self.plan.memory:
            _say("peak memory")
            largest = levels(self.plan.sizes[0], batch=max(self.plan.batches))[0]
            found += memory_figures(list(dict.fromkeys([largest, replace(largest, batch=1)])), self, self.plan.threads)
        found += self.local_and_global()
        rates = sorted(self.rates)
        name = f"matrix product of {MATRIX} x {MATRIX}, median"
        found.append(Figure("The machine", name, rates[len(rates) // 2] / 1e9, "GFLOP/s"))
        return found + each

    def timed(self, shape: Shape) -> Timed:
        """Every contender at a shape, or why it is not there."""
        _say(shape.title)
        if why := self.refused(OURS, shape):
            return Timed(shape, {}, {OURS: why}, self.rate, None)
        layer, x = shape.layer(), self._map(shape)
        self.layer = self.layer or layer.extra_repr()
        models: dict[str, nn.Module] = {OURS: layer}
        notes, compilation = {}, None
        for peer in (PEERS[name] for name in self.plan.peers if not self.missing[name]):
            found, seconds = self._peer(peer, shape, layer, x)
            if isinstance(found, str):
                notes[peer.name] = found
            else:
                models[peer.name] = found
                compilation = seconds if peer.name == FLEX and compiler() else compilation
        contenders = {name: _step(model, x, shape.backward) for name, model in models.items()}
        times = interleaved({RATE: self.product} | contenders, self.plan.seconds, self.plan.most)
        torch.compiler.reset()  # each shape is compiled by itself, and there is a limit to how often
        rates = self._rates(times.pop(RATE))
        self.rates += rates
        return Timed(shape, medians(times), notes, sorted(rates)[len(rates) // 2], compilation)

    def refused(self, name: str, shape: Shape) -> str:
        """Why a contender is not run at a shape; "" if it can be tried."""
        peer = PEERS.get(name)
        if peer and shape.backward and not peer.backward:
            return "no backward on the CPU"
        floats = peer.floats(shape) if peer else our_floats(shape)
        need, free = floats * BYTES * (BACKWARD_MEMORY if shape.backward else 1), available()
        if free is not None and need > MEMORY_SHARE * free:
            return f"too large for this machine: about {need / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"
        seconds = (peer.products(shape) if peer else shape.products()) / self.rate
        if peer and seconds > self.plan.longest:
            return f"skipped: one run would take some {seconds:.1f} s by its FLOPs, more than {self.plan.longest:g} s"
        return ""

    @property
    def rate(self) -> float:
        """FLOP/s of the machine's matrix product, the median so far."""
        return sorted(self.rates)[len(self.rates) // 2]

    def peers(self) -> dict[str, str]:
        """A line for each peer: version, what it computes, and how far it is from our layer."""
        lines = {}
        for name in self.plan.peers:
            peer = PEERS[name]
            if self.missing[name]:
                lines[name] = f"not installed ({self.missing[name]}). {peer.differs}"
                continue
            how = "the same function" if peer.same else peer.differs.split(":")[0]
            worst = self.worst.get(name)
            checked = "not checked" if worst is None else f"differs by at most {worst:.1e} of the largest value"
            lines[name] = f"{peer.version()}; {how}; {checked}. {peer.differs}"
        if FLEX in lines and not compiler():
            lines[FLEX] += "; NOT COMPILED: no C++ compiler found"
        return lines

    def local_and_global(self) -> list[Figure]:
        """Ours and global attention on square maps of growing side."""
        timed = []
        for side in self.plan.sides:
            dim = CHANNELS["n"][0]
            shape = Shape("square map", side, side, dim, levels((side, side))[0].heads)
            _say(f"local against global, {side} x {side}")
            layer, x = shape.layer(), self._map(shape)
            notes, contenders = {}, {OURS: _step(layer, x, False)}
            # The one peer that is here to be slow: its time does not exclude it.
            found, _ = self._peer(PEERS[GLOBAL], shape, layer, x, patient=True)
            if isinstance(found, str):
                notes[GLOBAL] = found
            else:
                contenders[GLOBAL] = _step(found, x, False)
            times = interleaved(contenders, self.plan.seconds / 2, self.plan.most)
            timed.append(Timed(shape, medians(times), notes, self.rate, None))
        return local_figures(timed)

    def _peer(
        self, peer: Peer, shape: Shape, layer: nn.Module, x: Tensor, patient: bool = False
    ) -> tuple[nn.Module | str, float]:
        """The peer, checked and run once, or why not; and the seconds that this took."""
        why = self.refused(peer.name, shape)
        if why and not (patient and why.startswith("skipped")):
            return why, 0.0
        begun = time.perf_counter()
        try:
            model = peer.build(layer, shape.height, shape.width)
            difference = peer.difference(layer, x, model, shape.backward)
            _step(model, x, shape.backward)()
        except Exception as error:  # whatever a peer trips over is its figure
            return f"cannot run this: {type(error).__name__}: {str(error).strip().splitlines()[0][:120]}", 0.0
        self.worst[peer.name] = max(self.worst.get(peer.name, 0.0), difference)
        if not difference <= TOLERANCE:
            return f"not timed: differs from our layer by {difference:.1e} of the largest value", 0.0
        return model, time.perf_counter() - begun

    def _map(self, shape: Shape) -> Tensor:
        format_ = torch.channels_last if self.plan.channels_last else torch.contiguous_format
        return shape.map().contiguous(memory_format=format_)

    @staticmethod
    def _rates(times: list[float]) -> list[float]:
        return [2 * MATRIX**3 / seconds for seconds in times]


def _step(model: nn.Module, x: Tensor, backward: bool) -> Callable[[], None]:
    """One run: forward in inference mode, or forward and the gradients of the map and of every weight."""

    def forward() -> None:
        with torch.inference_mode():
            model(x)

    def both() -> None:
        leaf = x.detach().requires_grad_()
        model.zero_grad(set_to_none=True)
        model(leaf).backward(x)

    return both if backward else forward


def _say(what: str) -> None:
    """Progress, beside the table and not in it."""
    print(f"bench layer: {what}", file=sys.stderr, flush=True)
