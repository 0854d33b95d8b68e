"""The run view as a component of the page, and the value that it shows.

The component draws snapshots (``Store.snapshot``) of one to four runs; the first one is in focus. It holds no handler
and asks nothing of the server but the files that its value names.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from demo.guards import served_folder
from demo.texts import language

if TYPE_CHECKING:  # importing halo_vis imports torch
    from halo_vis.training.run_folder import RunFolder

FOLDER = Path(__file__).parent
VIEWER = FOLDER.parent.parent / "halo_vis" / "viewer"  # read as files: importing the package imports torch
# Of the explorer: half precision, geometry, masses, entropy, the one mapping of values to colours, and safe exports.
SHARED = ("texts", "tensors", "rows", "numbers", "paint", "heats", "readout", "save", "svg", "csv")
MOST_RUNS = 4  # laid over each other
KEEP_S = 60  # an older version of a file, which somebody may still be fetching


def scripts() -> str:
    """All scripts as one expression statement that defines ``HaloVis``.

    They get a ``globalThis`` of their own: the explorer on the same page has loaded the same files, and loading
    tensors.js anew would take the functions away that later files have added to it.
    """
    own = json.loads((FOLDER / "order.json").read_text(encoding="utf-8"))
    paths = [*(VIEWER / f"{name}.js" for name in SHARED), *(FOLDER / name for name in own)]
    parts = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    return f"const HaloVis = ((globalThis) => {{\n{parts}\nreturn globalThis.HaloVis;\n}})({{}});"


def glue() -> str:
    """What mounts the view in a gr.HTML, after `scripts`."""
    colours = (FOLDER / "colours.json").read_text(encoding="utf-8").strip()
    return f"const COLOURS = {colours};\n" + (FOLDER / "glue.js").read_text(encoding="utf-8")


def run_view(value: dict[str, Any] | None = None, elem_id: str = "run-view", **options: Any) -> gr.HTML:
    """The component; a factory, not a subclass: Gradio writes a .pyi beside the source of a subclass.

    Args:
        value: of `view_value`; None: no run is chosen.
        elem_id: its id on the page.
        options: of gr.HTML. Show and hide it by a wrapper around it: an update of an HTML component that is more than a
            new value takes its templates away.
    """
    return gr.HTML(
        value=value,
        html_template=(FOLDER / "run_view.html").read_text(encoding="utf-8"),
        css_template=(FOLDER / "run_view.css").read_text(encoding="utf-8"),
        js_on_load=f"{scripts()}\n{glue()}",
        apply_default_css=False,
        elem_id=elem_id,
        **options,
    )


def view_value(
    runs: Sequence[RunFolder], snapshots: Sequence[Mapping[str, Any]], lang: str = "en", served: Path | None = None
) -> dict[str, Any]:
    """The component's value.

    Args:
        runs: the folders of the runs, in the order of the snapshots; only the first one's attention is shown.
        snapshots: of one to four runs, the one in focus first; further ones are not shown.
        lang: "en" or "zh-CN".
        served: a folder that Gradio serves from, to whoever names a file in it; None: that of uploads.
    """
    shown = [dict(snapshot) for snapshot in snapshots[:MOST_RUNS]]
    value = {"runs": shown, "attention": {}, "lang": language(lang), "now": time.time()}
    if shown and runs and (files := attention_files(runs[0].path, shown[0], served or served_folder())):
        value["attention"][shown[0]["id"]] = files
    return value


def attention_files(folder: Path, snapshot: Mapping[str, Any], served: Path) -> dict[str, Any]:
    """A run's captured attention as files that the browser may fetch.

    A copy is made once for each version, where Gradio serves files from: it may not serve the run folder, and would
    otherwise read a growing file at every update.

    Args:
        folder: the run folder.
        snapshot: of that run; says which members have frames, and their version.
        served: a folder that Gradio serves from.

    Returns:
        {member: {"frames": file, "picture": file, "probe": what probe.json says}, ..., "version": int}; {} while there
        is nothing yet.
    """
    about, source = snapshot.get("attention") or {}, folder / "attention"
    try:
        probe = json.loads((source / "probe.json").read_text(encoding="utf-8"))
        picture = source / Path(str(probe.get("picture", "probe.png"))).name
        target = served / "runs" / folder.name
        target.mkdir(parents=True, exist_ok=True)
        version = int(about.get("version", 0))
        files: dict[str, Any] = {}
        for member in about.get("members") or {}:
            frames = source / f"{Path(str(member)).name}.jsonl"
            if frames.is_file() and picture.is_file():
                files[member] = {
                    "frames": _served(frames, target / f"{frames.stem}.{version}.jsonl"),
                    "picture": _served(picture, target / picture.name),
                    "probe": probe,
                }
    except (OSError, ValueError, AttributeError):
        return {}  # not written yet, or in this very moment: the next update brings it
    return files | {"version": version} if files else {}


def _served(source: Path, target: Path) -> dict[str, Any]:
    """A file as Gradio hands it to the browser; copied whole unless it is there, copies of older versions deleted."""
    if not target.is_file():
        partial = target.with_name(f".{target.name}.{time.monotonic_ns()}.partial")
        shutil.copyfile(source, partial)
        partial.replace(target)
        member, _, kind = target.name.partition(".")
        for old in target.parent.glob(f"{member}.*.jsonl") if kind.endswith(".jsonl") else ():
            if old != target and time.time() - old.stat().st_mtime > KEEP_S:
                old.unlink(missing_ok=True)
    return gr.FileData(path=str(target), orig_name=source.name).model_dump()
