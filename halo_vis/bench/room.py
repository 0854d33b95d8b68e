"""As much as memory allows: a bench that asks for more than there is gets an error, not the end of the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KEPT = 0.1  # share of the free memory that stays free


@contextmanager
def within_free_memory() -> Iterator[None]:
    """Inside, an allocation beyond the machine's free memory raises RuntimeError or MemoryError.

    Where the system tells of no free memory or sets no limits (it is Linux that does both) nothing changes.
    """
    free = free_memory()
    if free is None:
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = held + int(free * (1 - KEPT))
    if before[0] != resource.RLIM_INFINITY:
        limit = min(limit, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def free_memory() -> int | None:
    """Bytes that can be taken without swapping, a container's own limit kept; None where nothing tells."""
    try:
        found = [_lines(Path("/proc/meminfo"))["MemAvailable:"] * 1024]
    except (OSError, ValueError, KeyError):
        return None
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, KeyError):  # no container, or its limit is "max"
        found.append(int((group / "memory.max").read_text()) - _lines(group / "memory.stat")["anon"])
    return max(0, min(found))


def _lines(path: Path) -> dict[str, int]:
    """The first number of each line by its first word."""
    return {line.split()[0]: int(line.split()[1]) for line in path.read_text(encoding="utf-8").splitlines()}
