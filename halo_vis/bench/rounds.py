"""Times of several contenders that take turns, so that what disturbs the machine disturbs them all."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

LEAST = 3


def interleaved(
    contenders: dict[str, Callable[[], object]], seconds: float, most: int, least: int = LEAST
) -> dict[str, list[float]]:
    """Run every contender in turns, two runs that do not count first; returns the seconds of each run.

    The time is shared evenly. A contender that is too slow for every round sits out evenly spread ones, so that
    the quick ones are not left with few. The order turns by one each round, and runs backwards in every other: nobody
    always follows the same one.

    Args:
        contenders: name -> one run.
        seconds: for all of them together; `least` runs of each take place whatever they cost.
        most: runs of a contender.

    Raises:
        ValueError: there is no contender.
    """
    if not contenders:
        raise ValueError("interleaved() needs at least one contender. Pass one.")
    share = seconds / len(contenders)
    runs = {}
    for name, run in contenders.items():
        run()
        runs[name] = max(least, min(most, int(share / max(_timed(run), 1e-9))))
    rounds = max(runs.values())
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection would be charged to whoever happens to run
    try:
        for turn in range(rounds):
            at = turn % len(names)
            order = names[at:] + names[:at]
            for name in order if turn % 2 == 0 else reversed(order):
                if (turn + 1) * runs[name] // rounds > turn * runs[name] // rounds:
                    taken[name].append(_timed(contenders[name]))
    finally:
        if collecting:
            gc.enable()
    return taken


def medians(taken: dict[str, list[float]]) -> dict[str, float]:
    """The median of each contender's runs."""
    return {name: statistics.median(times) for name, times in taken.items()}


def _timed(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
