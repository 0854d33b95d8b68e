"""Runs in a real Ray head: to the end, stopped gracefully and by force, in its queue, and when the head is lost.

Ray runs in namespaces of its own: it is remote code execution for whoever reaches it, and nobody does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from run_folders import end_workers, make_run

from halo_vis.training.ray_jobs import RayError, RayLauncher
from halo_vis.training.recipe import RECIPES
from halo_vis.training.store import Store
from halo_vis.training.worker import write_run

SCENARIO = Path(__file__).with_name("ray_scenario.py")
# A process namespace ends with its first process: nothing of Ray is left behind, whatever happens.
NAMESPACES = (
    ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"],
    ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"],
    ["unshare", "--net"],
    ["unshare", "--map-root-user", "--net"],
)


def ray_command() -> str | None:
    """The `ray` of this environment, or the one that HALO_VIS_RAY names."""
    beside = Path(sys.executable).with_name("ray")
    return os.environ.get("HALO_VIS_RAY") or (str(beside) if beside.is_file() else shutil.which("ray"))


def isolation() -> list[str]:
    """The first kind of namespaces that this machine allows; [] with a warning: loopback only, and a token."""
    for prefix in NAMESPACES:
        if shutil.which(prefix[0]) and not subprocess.run([*prefix, "true"], capture_output=True).returncode:
            return prefix
    warnings.warn("no namespaces here: Ray listens on this machine's loopback, with a token", stacklevel=1)
    return []


@pytest.fixture(scope="module")
def happened(tmp_path_factory) -> dict:
    """What happened in the cluster, see ray_scenario.py; about a minute and a half."""
    ray = ray_command()
    if not ray:
        reason = (
            'Ray is not installed; `pip install "ray[default]"`, or name another environment\'s ray in HALO_VIS_RAY'
        )
        if os.environ.get("HALO_VIS_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    root, result = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("ray") / "result.json"
    write_run(RECIPES["smoke"], root / "real")
    try:
        done = subprocess.run(
            [*isolation(), sys.executable, str(SCENARIO), ray, str(root), str(result), "--real"],
            capture_output=True, text=True, timeout=900,
        )  # fmt: skip
    finally:
        end_workers(root)
    print(done.stdout[-6000:])
    assert result.is_file(), done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(result.read_text())


def step(happened: dict, name: str) -> dict:
    """What came of a step of the scenario; fails with its error where it had one."""
    assert "wrong" not in happened[name], happened[name]
    return happened[name]


def test_nothing_listens_beyond_loopback(happened):
    assert happened["listening"]
    for address in happened["listening"]:
        host = address.rpartition(":")[0]
        assert host in ("0100007F", "0" * 24 + "01000000", "0" * 16 + "FFFF00000100007F"), address


def test_wrong_settings_are_told_apart(happened):
    said = step(happened, "refusals")
    assert "refused the token" in said["wrong token"] and "needs a token" in said["no token"]
    assert "cannot be reached" in said["nobody there"]
    assert "http://127.0.0.1:6380" in said["no dashboard"] and "Ray" in said["no dashboard"]


def test_a_run_goes_to_its_end(happened):
    run = step(happened, "to_its_end")
    assert run["epochs"] == [1, 2] and run["starts"] == 1
    assert "halo epoch 2" in run["log"]
    assert set(run["proc"]["ray"]) == {"address", "job"} and run["proc"]["pid"] > 0
    assert run["load"] == {"cpu": None, "memory": None, "gpu": None}  # that of the cluster's machine is not known
    assert run["env"]["YOLO_OFFLINE"] == run["env"]["ULTRALYTICS_SAFE_LOAD"] == "1"


def test_a_run_waits_in_rays_queue_and_can_be_taken_out_of_it(happened):
    run = step(happened, "stopped_in_the_queue_of_ray")
    assert run["seen"] == ["queued", "queued"]  # never "interrupted", though the head knew nothing of the job yet
    assert (run["first"], run["state"], run["queue"], run["actions"]) == ("running", "queued", 1, ["stop"])
    assert run["stopped"] == "stopped"
    assert run["starts"] == 1  # resumed, it was started by the new job, and not by the one that was called off
    assert run["first at the end"] == "finished"


def test_a_graceful_stop_loses_nothing(happened):
    run = step(happened, "gracefully")
    assert run == {"asked": "stopping", "epochs": [1, 2], "in the end": [1, 2, 3]}


def test_a_stop_at_once_goes_through_ray(happened):
    assert step(happened, "at_once") == {"epochs": [1], "said": "stopped"}


def test_by_force(happened):
    run = step(happened, "by_force")
    assert run["asked"] == "stopping" and run["killed"] == "interrupted" and run["warnings"]


def test_the_real_worker_trains_both_members(happened):
    run = step(happened, "the_worker")
    assert run.get("state") == "finished", run
    assert [(m["name"], m["status"], m["epochs_done"]) for m in run["members"]] == [
        ("baseline", "done", 1),
        ("halo", "done", 1),
    ]


def test_a_head_that_is_away_interrupts_nothing_and_a_new_one_is_told_the_truth(happened):
    run = step(happened, "head_lost")
    assert run["away"][0] == "running" and "the last that is known" in run["away"][1]
    assert run["waits"][0] == "queued" and "cannot be reached" in run["waits"][1]
    assert "does not know this run any more" in run["back"][0]
    assert run["epochs"] == [1, 2]


def test_the_token_is_in_no_file_of_a_run(happened):
    assert happened["holders"] == []


# ---------------------------------------------------------------- without a head
@pytest.mark.parametrize(
    "address", ["", "localhost", "ray://head:10001", "http://", "file:///etc/passwd", "http://user:secret@head:8265"]
)
def test_an_address_that_is_none_is_refused_without_showing_a_password(address):
    with pytest.raises(RayError, match="as http://HOST:8265") as caught:
        RayLauncher(address)
    assert "secret" not in str(caught.value)


def test_the_token_is_not_shown():
    assert "abc" not in repr(RayLauncher("http://head:8265/", "abc"))
    with pytest.raises(RayError, match="one line"):
        RayLauncher("http://head:8265", "abc\ndef")


def test_a_run_of_a_cluster_that_is_not_in_the_settings_is_not_called_interrupted(tmp_path):
    run = make_run(tmp_path, "r")
    run.write_json("proc.json", {"ray": {"address": "http://elsewhere:8265", "job": "j"}})
    run.set_state("running")
    for store in (Store(tmp_path), Store(tmp_path, launcher=RayLauncher("http://another:8265"))):
        shown = store.snapshot(run)
        assert shown["state"] == "running"
        assert "http://elsewhere:8265" in shown["warnings"][0]
