"""Between the page and the library: the pairs in memory, one inspection at a time per pair, results as files."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.catalogue import COCO, OWN, RUN, examples, version
from demo.guards import runs_folder, work_folder
from demo.pictures import Pictures

try:
    import spaces  # before torch touches CUDA; there on ZeroGPU only
except ImportError:
    spaces = None

if TYPE_CHECKING:
    from halo_vis.inspection import Inspection
    from halo_vis.pairs import Pair

PAIRS_KEPT = 3
RESULTS_KEPT_S = 3600
# What leaves the page besides the zip, by kind: the file's suffix.
EXPORTS = {"figure": "pdf", "sheet": "pdf", "gif": "gif", "page": "html"}
LONGEST_TRAIL = 60  # frames of an animation
LONGEST_SERVED = 4096  # pixels: a larger photo goes to the browser scaled down; boxes and maps keep its own pixels

log = logging.getLogger("halo_vis")


class Service:
    """Loads pairs, runs inspections, writes what the browser fetches."""

    def __init__(self, served: Path) -> None:
        """`served`: the folder that Gradio serves from; nothing is written outside it."""
        self.examples = served / "examples"
        self.results = served / "results"
        self.pictures = Pictures(work_folder() / "pictures")
        self._pairs: OrderedDict[tuple, Pair] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[tuple, threading.Lock] = {}
        self._warming = False
        self._warm_over = threading.Event()

    def warm(self) -> None:
        """Load the first pair in the background, once, while the person looks at the first picture."""
        with self._lock:
            if self._warming:
                return
            self._warming = True
        threading.Thread(target=self._warm, name="warm", daemon=True).start()

    def _warm(self) -> None:
        try:
            pair = self.pair("photos", "halo")
            # Ultralytics copies and fuses a model at its first predict, and much is imported on first use.
            example = next((e for e in examples() if e.pair == "photos"), None)
            if spaces is None and example is not None:
                self.prepare(_inspect(pair, example.path(self.examples), {}))
        except Exception:  # the page must come up whatever happens here; a Run will say what is wrong
            log.exception("warming up failed")
        finally:
            self._warm_over.set()

    def warmed(self) -> bool:
        """True once the first pair has been run, or could not be."""
        return self._warm_over.is_set()

    def ready(self) -> bool:
        """True once a pair is in memory."""
        return bool(self._pairs)

    def pair(
        self, name: str, member: str, *, own: tuple[str | None, str | None] = (None, None), fetch: bool = False
    ) -> Pair:
        """The pair, from memory or loaded now; the least recently used one makes room.

        A finished run's pair is loaded again where its files have changed. Whether the visitor may see the run is for
        the caller to ask.
        """
        import halo_vis

        key = (name, member, *own) if name == OWN else (name, member, *version(name))
        with self._lock:
            gate = self._loading.setdefault(key, threading.Lock())
        with gate:  # two visitors who ask for the same pair load it once
            with self._lock:
                if key in self._pairs:
                    self._pairs.move_to_end(key)
                    return self._pairs[key]
            if name == OWN:
                pair = halo_vis.load_pair(baseline=own[0], halo=own[1])
            else:
                pair = halo_vis.load_pair(name, member=member, fetch=fetch and name in COCO, runs=runs_folder())
            with self._lock:
                if name.startswith(RUN):  # what the name stood for before is not asked for again
                    for old in [k for k in self._pairs if k[:2] == key[:2]]:
                        del self._pairs[old]
                self._pairs[key] = pair
                while len(self._pairs) > PAIRS_KEPT:
                    self._pairs.popitem(last=False)
            return pair

    def inspect(
        self,
        pair_args: dict[str, Any],
        picture: Path,
        name: str,
        settings: dict[str, Any],
        beside: dict[str, Any] | None = None,
    ) -> Inspection:
        """Run both models, and another pair's beside them.

        Pairs are loaded here, in the parent: a ZeroGPU call runs in a throw-away fork.
        """
        from halo_vis.picture import read_picture

        read = replace(read_picture(picture), name=name)
        pair = self.pair(**pair_args)
        # The image size that the first pair's card names goes for both: maps can only be compared on one grid.
        settings = {"imgsz": pair.card.imgsz} | settings
        seen = _on_gpu(pair, read, settings)
        if beside:
            seen = seen.with_beside(_on_gpu(self.pair(**beside), read, settings))
        self.pictures.keep(picture, read.digest)
        return seen

    @staticmethod
    def digest(picture: Path) -> str:
        """The digest of a picture's pixels, which links name it by."""
        from halo_vis.picture import read_picture

        return read_picture(picture).digest

    def linked(self, digest: str, name: str) -> Path | None:
        """The picture of a link, put under its name where Gradio may serve it from; None where it is gone."""
        kept = self.pictures.find(digest)
        if kept is None:
            return None
        target = self.results / secrets.token_urlsafe(12) / (safe_name(Path(name).stem) + safe_suffix(name))
        target.parent.mkdir(parents=True)
        shutil.copyfile(kept, target)
        return target

    def publish(self, seen: Inspection, view: str = "") -> dict[str, Any]:
        """Write what the explorer fetches; returns the value of the explorer component.

        Args:
            view: what the explorer shows first, as it writes it into links; "" is its own choice.
        """
        from gradio import FileData

        self._sweep()
        folder = self.results / secrets.token_urlsafe(12)
        folder.mkdir(parents=True)
        (photo, suffix), meta, binaries = self.prepare(seen)
        (folder / f"picture.{suffix}").write_bytes(photo)
        write_binaries(folder, binaries)
        return explorer_value(folder, FileData, as_text(meta), view)

    @staticmethod
    def prepare(seen: Inspection) -> tuple[tuple[bytes, str], dict, dict[str, bytes]]:
        """The photo as a file (with its suffix), metadata and binaries that the explorer fetches."""
        from halo_vis.viewer import payload

        return seen.picture.for_browser(LONGEST_SERVED), *payload(seen)

    def write(self, seen: Inspection) -> list[Path]:
        """All files of an inspection, in a folder of their own."""
        self._sweep()
        return seen.save(self.results / secrets.token_urlsafe(12) / "files")

    def pack(self, seen: Inspection) -> Path:
        """All files of an inspection as one zip."""
        folder = self.write(seen)[0].parent
        return Path(
            shutil.make_archive(
                str(folder.parent / f"halovis_{safe_name(Path(seen.picture.name).stem)}"), "zip", folder
            )
        )

    def export(self, seen: Inspection, kind: str, state: Any, trail: Any, lang: str) -> Path:
        """What the explorer shows as a file for a paper; see EXPORTS.

        Args:
            state: the explorer's view state as the browser sent it; None: what the explorer starts with.
            trail: the cells that the pointer has visited: a list of {level, y, x}.

        Raises:
            ValueError: a state or a trail that no explorer would send.
        """
        from halo_vis import animation, figures, single
        from halo_vis.panels import about
        from halo_vis.view import View

        view = View.strongest(seen) if state is None else View.from_state(state)
        self._sweep()
        folder = self.results / secrets.token_urlsafe(12)
        folder.mkdir(parents=True)
        path = folder / f"{_stem(seen)}_{kind}.{EXPORTS[kind]}"
        if kind == "page":
            path.write_text(single.html(seen, view, lang=lang), encoding="utf-8")
        elif kind == "gif":
            steps = trail[-LONGEST_TRAIL:] if isinstance(trail, list) else []
            cells = [{name: step.get(name) for name in ("level", "y", "x")} for step in steps if isinstance(step, dict)]
            views = [View.from_state(view.state() | cell) for cell in cells]
            # Nobody has moved yet: then from detection to detection.
            animation.gif(seen, views if len(views) > 1 else view.walk(seen), path, ms=120 if len(views) > 1 else 900)
        else:
            views = view.levels(seen) if kind == "sheet" else [view]
            figure = figures.sheet(seen, views) if kind == "sheet" else figures.figure(seen, view)
            figures.save(figure, path, about(seen, *views))
        return path

    def _sweep(self) -> None:
        """Throw away results that nobody fetched for an hour."""
        if not self.results.is_dir():
            return
        for folder in self.results.iterdir():
            try:
                if time.time() - folder.stat().st_mtime > RESULTS_KEPT_S:
                    shutil.rmtree(folder)
            except FileNotFoundError:  # another visitor's sweep was faster
                continue


def as_text(meta: dict) -> str:
    """Metadata as JSON; a file's name may hold bytes that are no text."""
    return json.dumps(meta, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")


def write_binaries(folder: Path, binaries: dict[str, bytes]) -> None:
    """The explorer's tensors as plain files."""
    for name, binary in binaries.items():
        (folder / f"{name}.bin").write_bytes(binary)


def explorer_value(folder: Path, file_data: type, meta: str, view: str = "") -> dict[str, Any]:
    """The explorer's value: metadata, files that the browser fetches (binary, never base64), and what it shows first.

    Args:
        meta: metadata as JSON. It goes along by itself, each file more being one more way to and fro, and as text, in
            which the page's framework does not watch every value.
    """

    def served(path: Path) -> dict[str, Any]:
        return file_data(path=str(path)).model_dump()

    return {
        "image": served(next(folder.glob("picture.*"))),
        "meta": meta,
        "tensors": served(folder / "tensors.bin"),
        "others": {path.stem: served(path) for path in sorted(folder.glob("*.bin")) if path.stem != "tensors"},
        "view": view,
    }


def _stem(seen: Inspection) -> str:
    return "halovis_" + safe_name(Path(seen.picture.name).stem)


def safe_name(text: str) -> str:
    """Letters, digits, dash and underscore of any script: a file name whatever the text was."""
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in text)
    # File systems count bytes, 255 at most, and more is put around it.
    return name.encode("utf-8", "replace")[:120].decode("utf-8", "ignore") or "picture"


def safe_suffix(name: str) -> str:
    """The suffix of a picture's name, if it is one that a picture may have."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff") else ".png"


def _inspect(pair: Pair, picture: Any, settings: dict[str, Any]) -> Inspection:
    from halo_vis import inspect

    return inspect(pair, picture, **settings)


if spaces is None:
    _on_gpu = _inspect
else:
    _PARENT: dict[int, Any] = {}

    @spaces.GPU(duration=30)
    def _forked(key: int, picture: Any, settings: dict[str, Any]) -> Inspection:
        """Runs in a fork: the pair is read from the parent's memory, only the picture and the result are pickled."""
        return _inspect(_PARENT[key], picture, settings)

    def _on_gpu(pair: Pair, picture: Any, settings: dict[str, Any]) -> Inspection:
        """Run on the GPU that the host lends for this call."""
        key = id(pair)
        _PARENT[key] = pair
        try:
            return _forked(key, picture, settings)
        finally:
            _PARENT.pop(key, None)
