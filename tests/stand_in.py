"""A worker that trains nothing, for tests of what surrounds it: the run folder's side of `python -m halo_vis train`.

Told by script.json in the run folder: {"gated": an epoch begins only when the file `go` names it, "deaf": SIGTERM does
nothing, "stays": after its last word until there is a file `leave`, "say": a line for the log per epoch,
"helper": start a process of its own session that does not end}.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

# The package's own __init__ brings torch, which takes seconds; nothing here needs it.
package = types.ModuleType("halo_vis")
package.__path__ = [str(Path(__file__).resolve().parents[1] / "halo_vis")]
sys.modules.setdefault("halo_vis", package)

import yaml

from halo_vis.training.run_folder import RunFolder


class Terminated(Exception):
    pass


def terminate(*_: object) -> None:
    raise Terminated


def work(run: RunFolder, script: dict) -> str:
    recipe = yaml.safe_load((run.path / "run.yaml").read_text())
    members, asked = list(recipe["members"]), sum(stage["epochs"] for stage in recipe["stages"])
    for name in members:
        known = [e["epoch"] for e in run.events() if e.get("kind") == "epoch" and e.get("member") == name]
        for epoch in range(max(known, default=0) + 1, asked + 1):
            status = {"state": "running", "time": time.time(), "member": name, "members": members, "epoch": epoch}
            run.write_json("status.json", status | {"epochs": asked, "phase": "training", "elapsed_s": float(epoch)})
            while script.get("gated") and allowed(run) < epoch:
                time.sleep(0.005)  # the test's file is the event that is awaited
            print(script.get("say", f"{name} epoch {epoch}"), flush=True)
            losses = {"box": 1.0 / epoch, "cls": 2.0 / epoch}
            run.event("epoch", member=name, stage=0, epoch=epoch, epochs=asked, losses=losses, mAP50=epoch / 10)
            if run.stop_file.exists():
                return "stopped"
        run.weights(name).parent.mkdir(exist_ok=True)
        run.weights(name).write_bytes(b"weights")
        run.write_json(f"weights/{name}.json", {"mAP50": 0.5})
        run.event("member", member=name, mAP50=0.5)
    return "finished"


def allowed(run: RunFolder) -> int:
    try:
        return int((run.path / "go").read_text() or 0)
    except (OSError, ValueError):
        return 0


def main() -> int:
    run = RunFolder(Path(sys.argv[1]))
    script = run.json("script.json")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if script.get("deaf") else terminate)
    with run.held():
        run.set_state("running")
        if script.get("helper"):
            helper = subprocess.Popen(["sleep", "600"], start_new_session=True)
            run.append(run.path / "helpers.jsonl", {"pid": helper.pid})
        run.append(run.path / "starts.jsonl", {"pid": os.getpid(), "arguments": sys.argv[2:], "env": dict(os.environ)})
        run.append(run.path.parent / "at-work.jsonl", {"run": run.id, "change": 1})
        try:
            state = work(run, script)
        except Terminated:
            state = "stopped"
        run.append(run.path.parent / "at-work.jsonl", {"run": run.id, "change": -1})
        kept = {k: v for k, v in run.json("status.json").items() if k not in ("state", "time", "phase")}
        run.set_state(state, **kept)
        while script.get("stays") and not (run.path / "leave").exists():
            time.sleep(0.005)
    return 0


if __name__ == "__main__":
    print(json.dumps({"stand-in": os.getpid()}), flush=True)
    sys.exit(main())
