"""Figures of a bench with their targets, and the machine that they were taken on, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        group, name: where it stands in the table.
        value: None if this machine cannot tell.
        target: None if there is none; the value has to be below it, or, with ``least``, not below it.
        note: why there is no value, or how it was come by.
    """

    group: str
    name: str
    value: float | None
    unit: str
    target: float | None = None
    least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target or a value."""
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.least else self.value < self.target


def spread(group: str, name: str, values: list[float], median: float | None, p95: float | None) -> list[Figure]:
    """Median, 95th percentile and worst of some times in ms, with targets for the first two."""
    ordered = sorted(values)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]  # noqa: E731 - two uses, below
    return [
        Figure(group, f"{name}: median", at(0.5), "ms", median),
        Figure(group, f"{name}: p95", at(0.95), "ms", p95),
        Figure(group, f"{name}: worst", ordered[-1], "ms"),
    ]


def slope(points: list[tuple[float, float]]) -> float:
    """Least-squares slope of y over x.

    >>> slope([(0, 1), (1, 3), (2, 5)])
    2.0
    """
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    out = {"processor": f"{cpu}, {cores} cores", "system": platform.platform(), "python": platform.python_version()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        out["memory"] = f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return out | {"load before": load()}


def load() -> str:
    """Processes that wanted a processor in the last minute. The bench by itself makes about 1.5: more disturbs it."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "not known"


def table(facts: dict[str, str], figures: list[Figure]) -> str:
    """Everything as text, one line a figure."""
    lines = [f"{key:<12} {value}" for key, value in facts.items()]
    wide = max(len(f.name) for f in figures)
    group = None
    for f in figures:
        if f.group != group:
            group = f.group
            lines += ["", group]
        target = "" if f.target is None else f"{'at least' if f.least else 'under'} {number(f.target)}"
        verdict = {True: "met", False: "MISSED", None: ""}[f.met]
        if f.value is None and f.note:
            lines.append(f"  {f.name:<{wide}}  {f.note}")
            continue
        value = "not known" if f.value is None else number(f.value)
        note = f"  ({f.note})" if f.note else ""
        lines.append(f"  {f.name:<{wide}}  {value:>10} {f.unit:<10} {target:<16} {verdict}".rstrip() + note)
    return "\n".join(lines)


def number(value: float) -> str:
    """Three digits that matter, without an exponent."""
    if float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def as_json(facts: dict[str, str], figures: list[Figure]) -> dict:
    """The same as plain JSON values."""
    return {"machine": facts, "figures": [asdict(f) | {"met": f.met} for f in figures]}
