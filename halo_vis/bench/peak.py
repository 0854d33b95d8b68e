"""The peak memory of one forward pass, each in a process of its own.

``python -m halo_vis.bench.peak CONTENDER SHAPE THREADS`` prints bytes, or "not known"; the shape is JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from halo_vis.bench.peers import OURS, PEERS
from halo_vis.bench.shapes import Shape

REPOSITORY = Path(__file__).parents[2]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # of VmHWM, by the manual page proc_pid_clear_refs(5)


def peak(contender: str, shape: Shape, threads: int) -> int | None:
    """Bytes that a forward pass takes above what was resident before it, input and weights among that.

    None: this system does not tell (only Linux does).

    Raises:
        RuntimeError: the process failed; with the end of what it printed.
    """
    command = [sys.executable, "-m", "halo_vis.bench.peak", contender, json.dumps(asdict(shape)), str(threads)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the memory of {contender} was not measured: {(done.stderr or done.stdout)[-300:].strip()}")
    said = done.stdout.split()[-1]
    return None if said == "known" else int(said)


def available() -> int | None:
    """Bytes that this process may still take, by the system and by its control group; None if neither tells."""
    known = []
    info = Path("/proc/meminfo")
    if info.is_file():
        known += [_kib(line) for line in info.read_text().splitlines() if line.startswith("MemAvailable:")]
    try:
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if most.isdigit():
            known.append(int(most) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except OSError:
        pass
    return min(known) if known else None


def _kib(line: str) -> int:
    """The bytes of a line "Name:   123 kB"."""
    return int(line.split()[1]) * 1024


def _status(name: str) -> int:
    return next(_kib(line) for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))


def _here(contender: str, shape: Shape) -> int | None:
    """The same, in this process."""
    layer, x = shape.layer(), shape.map()
    model = layer if contender == OURS else PEERS[contender].build(layer, shape.height, shape.width)
    with torch.inference_mode():
        # What a first pass loads for good (threads, libraries) is no memory of the layer: one block warms it up.
        small = shape.block_size
        model(x[:1, :, :small, :small].clone())
        try:
            CLEAR.write_text(RESET_PEAK)
            before = _status("VmRSS")
        except (OSError, StopIteration):
            return None
        out = model(x)
        after = _status("VmHWM")
    assert out.shape == x.shape
    return max(0, after - before)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    taken = _here(sys.argv[1], Shape(**json.loads(sys.argv[2])))
    print("not known" if taken is None else taken)
