"""How busy this machine is: CPU, memory and, where nvidia-smi is found, GPU. Asked often, measured seldom."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field

import psutil

EVERY_S = 1.0  # between two measurements of CPU and memory
GPU_EVERY_S = 4.0  # nvidia-smi takes up to half a second
GPU_LONGEST_S = 3.0


@dataclass
class Load:
    """The load of this machine, the same for all who ask within a second; safe from several threads."""

    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _measured: float = field(default=-1e9, repr=False)
    _values: dict[str, float | None] = field(default_factory=dict, repr=False)
    _gpu_measured: float = field(default=-1e9, repr=False)
    _gpu: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """The CPU's load is of the time between two calls: this is the first."""
        psutil.cpu_percent(None)
        self._smi = shutil.which("nvidia-smi")

    def read(self) -> dict[str, float | None]:
        """{"cpu", "memory", "gpu"} in percent; gpu is the busiest one's, None without one."""
        with self._lock:
            now = time.monotonic()
            if now - self._measured >= EVERY_S:
                self._measured = now
                self._values = {"cpu": psutil.cpu_percent(None), "memory": psutil.virtual_memory().percent}
            if self._smi and now - self._gpu_measured >= GPU_EVERY_S:
                self._gpu_measured = now  # nobody waits for it: the figure before is shown meanwhile
                threading.Thread(target=self._ask_gpu, name="nvidia-smi", daemon=True).start()
            return self._values | {"gpu": self._gpu}

    def _ask_gpu(self) -> None:
        try:
            said = subprocess.run(
                [self._smi, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"],
                capture_output=True, text=True, timeout=GPU_LONGEST_S, check=True, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            busiest = max(float(line) for line in said.stdout.split("\n") if line.strip())
        except (OSError, subprocess.SubprocessError, ValueError):
            busiest = None
        with self._lock:
            self._gpu = busiest


def gpus() -> tuple[str, ...]:
    """The CUDA devices of this machine as Ultralytics names them, ("0", "1", ...); () without nvidia-smi."""
    smi = shutil.which("nvidia-smi")
    if not smi:
        return ()
    try:
        said = subprocess.run(
            [smi, "-L"], capture_output=True, text=True, timeout=GPU_LONGEST_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(n) for n, _ in enumerate(line for line in said.stdout.split("\n") if line.startswith("GPU ")))
