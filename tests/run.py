"""The whole test suite: style, the viewer's JavaScript, Python, and the page in a real browser.

Chromium and Node come from the system's packages where they are missing; where they cannot be had, this says so and
ends, instead of passing without them. Arguments are handed to pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
MOST_WORKERS = 4  # each takes up to 2 GB
DEALING = ("--dist", "loadfile", "--no-loadscope-reorder")  # whole files, in the order of tests/conftest.py
# What to look for, and the Debian package that brings it.
SYSTEM = {
    ("chromium", "chromium-browser", "google-chrome"): "chromium",
    ("node", "nodejs"): "nodejs",
    ("faketime",): "faketime",
}


def run(*command: str, **kwargs: object) -> int:
    """Run a command from the repository, shown first; returns its exit status."""
    print("+", " ".join(command), flush=True)
    return subprocess.run(command, cwd=REPOSITORY, check=False, **kwargs).returncode


def find(names: tuple[str, ...]) -> str | None:
    """The first of some commands that is installed."""
    return next(filter(None, map(shutil.which, names)), None)


def has_chinese_font() -> bool:
    """Whether figures can show Chinese names."""
    listed = subprocess.run(["fc-list", ":lang=zh"], capture_output=True, check=False) if find(("fc-list",)) else None
    return bool(listed and listed.stdout.strip())


def install(missing: list[str]) -> None:
    """Install system packages with apt, as root or through sudo; exits with what to do where that is not possible."""
    rights = [] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") and (not rights or shutil.which("sudo")):
        quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
        run(*rights, "apt-get", "update", "-qq", **quiet)
        if run(*rights, "apt-get", "install", "-y", "-qq", *missing, stdout=subprocess.DEVNULL, **quiet) == 0:
            return
    sys.exit(
        f"The tests need {' and '.join(missing)} and could not install it. Install it with your system's packages."
    )


def main() -> int:
    """Get what is missing, run everything, end with the first failure's status."""
    missing = [package for names, package in SYSTEM.items() if not find(names)]
    if not has_chinese_font():
        missing += ["fontconfig", "fonts-noto-cjk"]
    if missing:
        print(f"Missing on this machine: {', '.join(missing)}. Installing from the system's packages.", flush=True)
        install(missing)
    if not find(("chromium", "chromium-browser", "google-chrome")):
        sys.exit("The browser tests need Chromium. Install it with your system's packages.")
    try:
        import cv2  # noqa: F401 - does it load at all?
    except ImportError as error:
        print(f"OpenCV does not load here ({error}); taking its build without a desktop.", flush=True)
        run(sys.executable, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", "opencv-python-headless")
    node = find(("node", "nodejs"))
    workers = min((os.cpu_count() or 1) + 1, MOST_WORKERS)  # one more: many tests wait for another process
    scripts = sorted(str(p.relative_to(REPOSITORY)) for p in (REPOSITORY / "tests" / "js").glob("*.test.mjs"))
    folders = [REPOSITORY / "halo_vis" / "viewer", REPOSITORY / "demo" / "run_view"]
    sources = sorted(str(p.relative_to(REPOSITORY)) for folder in folders for p in folder.glob("*.js"))
    steps = [
        [sys.executable, "-m", "ruff", "check", "."],
        [sys.executable, "-m", "ruff", "format", "--check", "."],
        *([node, "--check", source] for source in sources),
        [node, "--test", *scripts],
        [sys.executable, "-m", "pytest", "-n", str(workers), *DEALING, *sys.argv[1:]],
    ]
    # torch's own threads would fight over the cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    with tempfile.TemporaryDirectory(prefix="halo-vis-suite-", ignore_cleanup_errors=True) as folder:
        os.environ["TMPDIR"] = folder  # whatever a test, a server or a browser leaves behind goes with it
        for step in steps:
            if status := run(*step):
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
