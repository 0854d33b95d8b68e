"""Between the page and the library: the pairs in memory, one inspection at a time per pair, results as files."""

from __future__ import annotations

import json
import logging
import secrets
import shutil
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.catalogue import COCO, OWN

try:
    import spaces  # before torch touches CUDA; there on ZeroGPU only
except ImportError:
    spaces = None

if TYPE_CHECKING:
    from halo_vis.inspection import Inspection
    from halo_vis.pairs import Pair

PAIRS_KEPT = 2
RESULTS_KEPT_S = 3600
LONGEST_SERVED = 4096  # pixels: a larger photo goes to the browser scaled down; boxes and maps keep its own pixels

log = logging.getLogger("halo_vis")


class Service:
    """Loads pairs, runs inspections, writes what the browser fetches."""

    def __init__(self, served: Path) -> None:
        """`served`: the folder that Gradio serves from; nothing is written outside it."""
        self.examples = served / "examples"
        self.results = served / "results"
        self._pairs: OrderedDict[tuple, Pair] = OrderedDict()
        self._lock = threading.Lock()
        self._loading: dict[tuple, threading.Lock] = {}
        self._warmed = False

    def warm(self) -> None:
        """Load the first pair in the background, once, while the person looks at the first picture."""
        with self._lock:
            if self._warmed:
                return
            self._warmed = True
        threading.Thread(target=self._warm, name="warm", daemon=True).start()

    def _warm(self) -> None:
        try:
            self.pair("photos", "halo")
        except Exception:  # the page must come up whatever happens here; a Run will say what is wrong
            log.exception("warming up failed")

    def ready(self) -> bool:
        """True once a pair is in memory."""
        return bool(self._pairs)

    def pair(
        self, name: str, member: str, *, own: tuple[str | None, str | None] = (None, None), fetch: bool = False
    ) -> Pair:
        """The pair, from memory or loaded now; the least recently used one makes room."""
        import halo_vis

        key = (name, member, *own) if name == OWN else (name, member)
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
                pair = halo_vis.load_pair(name, member=member, fetch=fetch and name in COCO)
            with self._lock:
                self._pairs[key] = pair
                while len(self._pairs) > PAIRS_KEPT:
                    self._pairs.popitem(last=False)
            return pair

    def inspect(self, pair_args: dict[str, Any], picture: Path, name: str, settings: dict[str, Any]) -> Inspection:
        """Run both models. The pair is loaded here, in the parent: a ZeroGPU call runs in a throw-away fork."""
        from halo_vis.picture import Picture, read_picture

        pair = self.pair(**pair_args)
        return _on_gpu(pair, Picture(read_picture(picture).pixels, name), settings)

    def publish(self, seen: Inspection) -> dict[str, Any]:
        """Write what the explorer fetches; returns the value of the explorer component."""
        from gradio import FileData
        from PIL import Image

        from halo_vis.viewer import payload

        self._sweep()
        folder = self.results / secrets.token_urlsafe(12)
        folder.mkdir(parents=True)
        meta, tensors = payload(seen)
        photo = Image.fromarray(seen.picture.pixels)
        photo.thumbnail((LONGEST_SERVED, LONGEST_SERVED))
        photo.save(folder / "picture.webp", quality=92, method=2)
        (folder / "tensors.bin").write_bytes(tensors)
        (folder / "meta.json").write_text(json.dumps(meta, ensure_ascii=False), encoding="utf-8")
        return explorer_value(folder, FileData)

    def write(self, seen: Inspection) -> list[Path]:
        """All files of an inspection, in a folder of their own."""
        self._sweep()
        return seen.save(self.results / secrets.token_urlsafe(12) / "files")

    def pack(self, seen: Inspection) -> Path:
        """All files of an inspection as one zip."""
        folder = self.write(seen)[0].parent
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(seen.picture.name).stem) or "picture"
        return Path(shutil.make_archive(str(folder.parent / f"halovis_{name}"), "zip", folder))

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


def explorer_value(folder: Path, file_data: type) -> dict[str, Any]:
    """The explorer's value: three files that the browser fetches (binary, never base64)."""
    picture = next(folder.glob("picture.*"))
    return {
        key: file_data(path=str(path)).model_dump()
        for key, path in (("image", picture), ("tensors", folder / "tensors.bin"), ("meta", folder / "meta.json"))
    }


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
