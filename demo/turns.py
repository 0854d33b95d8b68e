"""Whose result is shown: a visitor who asks for something new no longer waits for what they asked before."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable

REMEMBERED = 1000  # visitors


class Turns:
    """Numbers what each visitor asks for."""

    def __init__(self) -> None:
        self._last: OrderedDict[str | None, int] = OrderedDict()
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def take(self, visitor: str | None) -> Callable[[], bool]:
        """A new turn of a visitor; returns whether it is still their last one."""
        with self._lock:
            mine = next(self._numbers)
            self._last[visitor] = mine
            self._last.move_to_end(visitor)
            while len(self._last) > REMEMBERED:
                self._last.popitem(last=False)
        return lambda: self._last.get(visitor, mine) == mine
