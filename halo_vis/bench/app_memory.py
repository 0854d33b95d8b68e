"""What inspections leave behind in memory. A program of its own, so that nothing else is counted.

python -m halo_vis.bench.app_memory INSPECTIONS    readings as JSON
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)


def held(value: Any, seen: set[int] | None = None) -> int:
    """Bytes of all arrays and byte strings that a record holds; what it holds twice counts once."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return held(value.base, seen) if isinstance(value.base, np.ndarray) else value.nbytes
    if isinstance(value, bytes):
        return len(value)
    if is_dataclass(value):
        return sum(held(getattr(value, field.name), seen) for field in fields(value))
    if isinstance(value, dict):
        return sum(held(one, seen) for one in value.values())
    if isinstance(value, (list, tuple)):
        return sum(held(one, seen) for one in value)
    return 0


def main(inspections: int) -> dict[str, Any]:
    """MiB at every stage (None where the system does not tell), and the bytes that one visitor's result holds."""
    from ultralytics import ASSETS

    from halo_vis import inspect, load_pair
    from halo_vis.bench.app_server import resident
    from halo_vis.bench.subject import PICTURES
    from halo_vis.viewer import payload

    def reading() -> float | None:
        gc.collect()
        with contextlib.suppress(OSError, AttributeError, TypeError):  # where the C library has no such thing
            ctypes.CDLL(None).malloc_trim(0)  # what it keeps for the next request is no growth
        return resident()

    libraries = reading()
    pair = load_pair("photos")
    loaded = reading()

    def one(n: int) -> Any:
        seen = inspect(pair, ASSETS / PICTURES[n % 2], conf=(0.25, 0.05, 0.5)[n % 3], device="cpu")
        payload(seen)
        return seen

    seen = one(0)
    trace, result = held(seen.trace), held(seen)
    del seen
    one(1)
    ready = reading()
    marks = sorted({max(1, round(inspections * share)) for share in SHARES})
    after, done = [], 0
    for mark in marks:
        for n in range(done, mark):
            one(n)
        done = mark
        after.append((mark, reading()))
    return {"libraries": libraries, "loaded": loaded, "ready": ready, "after": after, "trace": trace, "result": result}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
