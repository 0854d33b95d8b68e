"""Waiting for what another process does, without guessing how long it takes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

PATIENCE_S = 240  # on a busy machine; every wait ends as soon as what it waits for is there


def until(there: Callable[[], object], process: subprocess.Popen | None = None, patience: float = PATIENCE_S) -> None:
    """Until `there` says so; fails when the process that should bring it about has ended, or at the deadline."""
    deadline = time.monotonic() + patience
    while not there():
        ended = process is not None and process.poll() is not None
        assert not ended or there(), f"the process ended with {process.returncode}"
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
