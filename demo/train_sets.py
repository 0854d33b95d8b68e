"""The data sets that visitors train on: painted, built in, or uploaded; each visitor has their own."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import guards
from demo.guards import Refused
from demo.limits import Limits, folder_bytes, limits
from demo.owners import check_may_start, owner_of
from demo.train_plan import Plan, check_pictures

if TYPE_CHECKING:
    from halo_vis.datasets import Dataset

COCO_SETS = ("coco8", "coco128")
COCO_CLASSES, MEADOW_CLASSES = 80, 3
GB = 1e9
LEAST_FREE = 0.5 * GB
KEPT_MEADOWS = 3
KEPT_S = 3600  # of files that were made to be looked at or taken away
_ID = re.compile(r"[\w-][\w.-]{0,120}")


class Sets:
    """Data sets and the pictures of them. The library, and with it torch, is imported when it is first needed."""

    def __init__(self, served: Path) -> None:
        """`served`: the folder that Gradio serves from."""
        self.served = served / "training"
        self.runs_folder, self.data_folder = guards.runs_folder(), guards.datasets_folder()
        self.one_at_a_time = threading.Lock()  # models and meadows that are made to look at them

    def check_disk(self, bounds: Limits) -> None:
        """Refuse more when the runs and data sets fill what they may.

        Raises:
            Refused: they do, or the disk is nearly full.
        """
        used = sum(folder_bytes(folder) for folder in (self.runs_folder, self.data_folder))
        if used > bounds.disk_gb * GB:
            raise Refused("disk_used")
        self.runs_folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.runs_folder).free < LEAST_FREE:
            raise Refused("disk_full")

    def data_root(self, secret: Any) -> Path:
        """Where a visitor's uploaded sets lie: on a host each visitor has a folder of their own."""
        if limits().training == "anyone":
            return self.data_folder
        return self.data_folder / (owner_of(secret)[:32] or "nobody")

    def datasets(self, secret: Any) -> list[tuple[str, str]]:
        """Title and id of the visitor's uploaded sets."""
        root = self.data_root(secret)
        if not root.is_dir():
            return []
        from halo_vis.datasets import list_datasets

        return [(found.title or found.id, found.id) for found in list_datasets(root)]

    def import_zip(self, sent: guards.Sent, secret: Any, progress: Callable[[int, int], None] | None = None) -> Dataset:
        """Take an uploaded zip in: rebuilt by allow-list, or refused."""
        bounds = limits()
        check_may_start(secret, bounds)
        self.check_disk(bounds)
        path = guards.uploaded(sent, guards.max_upload_bytes(), missing="no_zip")
        from halo_vis import datasets

        into = self.data_root(secret)
        into.mkdir(parents=True, exist_ok=True)
        usual = datasets.Limits()
        capped = replace(
            usual,
            zip_bytes=min(usual.zip_bytes, guards.max_upload_bytes()),
            total_bytes=min(usual.total_bytes, int(bounds.disk_gb * GB)),
            pictures=min(usual.pictures, bounds.pictures),
        )
        name = Path(guards.sent_name(sent)).stem[:80]
        try:
            return datasets.import_zip(path, into, capped, name, owner_of(secret), progress)
        finally:
            with contextlib.suppress(OSError):
                path.unlink()  # rebuilt or refused: the upload itself is of no more use

    def data_yaml(self, values: Mapping[str, Any], secret: Any, fetch: bool = False) -> Path:
        """The data YAML that the form's choice means; the meadow is painted for it."""
        data = values.get("data")
        if data == "meadow":
            plan = Plan.from_dict({k: v for k, v in values.items() if k.startswith("meadow_")})
            check_pictures(plan.meadow_train + plan.meadow_val + plan.meadow_test, limits())
            return _meadow(guards.work_folder() / "meadows", plan, self.one_at_a_time)
        if data in COCO_SETS:
            from halo_vis.datasets import builtin

            return builtin(data, guards.work_folder() / "builtin", fetch)
        path = self.data_root(secret) / dataset_id(data) / "data.yaml"
        if not path.is_file():
            raise Refused("data_gone")
        return path

    def check_data(
        self, values: Mapping[str, Any], secret: Any, fetch: bool = False
    ) -> tuple[Any, Callable[[], list[tuple[str, Path]]], Callable[[], Path | None]]:
        """Look a data set through. `fetch`: allow the download of coco8 or coco128.

        Returns:
            its report; what draws previews: [(name, path of a picture)]; what draws the histogram: path or None.
        """
        check_may_start(secret, limits())
        path = self.data_yaml(values, secret, fetch)
        from halo_vis import datasets

        report = datasets.check(path)
        folder = self.fresh()

        def previews() -> list[tuple[str, Path]]:
            return [
                (name, _save(pixels, folder / f"{number}.png"))
                for number, (name, pixels) in enumerate(datasets.previews(path, count=8))
            ]

        def histogram() -> Path | None:
            return _save(datasets.histogram(report), folder / "histogram.png") if report.per_class else None

        return report, previews, histogram

    def pictures(self, plan: Any, secret: Any) -> tuple[int, int, int]:
        """How many pictures train, validate and test."""
        if plan.data == "meadow":
            return plan.meadow_train, plan.meadow_val, plan.meadow_test
        from halo_vis import datasets

        report = datasets.check(self.data_yaml({"data": plan.data}, secret), deep=False)
        train, val, test = (report.splits.get(split, {}).get("pictures", 0) for split in ("train", "val", "test"))
        return train, val, test

    def classes(self, plan: Any, secret: Any) -> int:
        """How many classes the data has."""
        if plan.data == "meadow":
            return MEADOW_CLASSES
        if plan.data in COCO_SETS:
            return COCO_CLASSES
        from halo_vis.datasets import open_dataset

        return len(open_dataset(self.data_root(secret), dataset_id(plan.data)).names)

    def first_picture(self, values: Mapping[str, Any], secret: Any) -> Path:
        """The picture that a run's probe would take by itself: of a meadow the first scene for validation."""
        from PIL import Image

        if values.get("data") == "meadow":
            from halo_vis import meadow

            seed = values.get("meadow_seed")
            seed = int(seed) if isinstance(seed, (int, float)) and not isinstance(seed, bool) and 0 <= seed < 1e7 else 0
            path = self.fresh() / "probe.png"
            Image.fromarray(meadow.scene(seed, "val").image).save(path)
            return path
        from halo_vis.picture import read_picture
        from halo_vis.training.probe import _labelled

        path = self.fresh() / "probe.png"
        Image.fromarray(read_picture(_labelled(self.data_yaml(values, secret))[0]).pixels).save(path)
        return path

    def fresh(self) -> Path:
        """A new folder whose files Gradio may serve; its name cannot be guessed. Old ones are swept away."""
        self.served.mkdir(parents=True, exist_ok=True)
        for old in self.served.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime > KEPT_S:
                    shutil.rmtree(old)
        folder = self.served / secrets.token_urlsafe(12)
        folder.mkdir()
        return folder


def dataset_id(data: Any) -> str:
    """The id in a plan's "dataset:ID"."""
    kind, _, name = data.partition(":") if isinstance(data, str) else ("", "", "")
    if kind != "dataset" or not _ID.fullmatch(name):
        raise Refused("data_gone")
    return name


def _meadow(folder: Path, plan: Any, lock: threading.Lock) -> Path:
    """A painted meadow of the plan's size; the last few are kept, for who looks again."""
    from halo_vis import meadow

    sizes = plan.meadow_train, plan.meadow_val, plan.meadow_test
    target = folder / "-".join(map(str, (*sizes, plan.meadow_seed)))
    with lock:
        painted = meadow.write_dataset(target, *sizes, seed=plan.meadow_seed)
        target.touch()
        kept = sorted((p for p in folder.iterdir() if p != target), key=lambda p: -p.stat().st_mtime)
        for old in kept[KEPT_MEADOWS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)
    return painted


def _save(pixels: Any, path: Path) -> Path:
    from PIL import Image

    Image.fromarray(pixels).save(path)
    return path
