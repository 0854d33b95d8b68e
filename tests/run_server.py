"""A server without a page: a store that pumps, and runs given to it. It ends when it is killed."""

from __future__ import annotations

import argparse
import signal
import sys
import types
from pathlib import Path

package = types.ModuleType("halo_vis")  # without torch, see stand_in.py
package.__path__ = [str(Path(__file__).resolve().parents[1] / "halo_vis")]
sys.modules.setdefault("halo_vis", package)

from run_folders import STAND_IN

from halo_vis.training.launch import LocalLauncher
from halo_vis.training.store import Store, StoreSettings

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--enqueue", nargs="*", default=[])
    parser.add_argument("--real", action="store_true", help="the real worker")
    args = parser.parse_args()
    launcher = LocalLauncher() if args.real else LocalLauncher(command=STAND_IN)
    store = Store(args.root, StoreSettings(at_once=args.at_once, disk_free_bytes=0, poll_s=0.02), launcher)
    for run in args.enqueue:
        store.enqueue(run)
    store.start_pump()
    print("ready", flush=True)
    signal.pause()
