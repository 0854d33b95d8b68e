"""The data of the recipes, made or gathered in a folder of the run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import ultralytics
from ultralytics.utils import YAML

from halo_vis import meadow
from halo_vis.datasets.builtin import builtin, find, places
from halo_vis.training.recipe import Recipe

PHOTO_BOXES = Path(__file__).parent / "photos.yaml"
INSTALLED = Path(ultralytics.__file__).parent


def find_coco8() -> Path:
    """The folder of coco8 on this machine.

    Raises:
        FileNotFoundError: it is in none of the places; says which they are.
    """
    if (found := find("coco8")) is not None:
        return found
    looked = ", ".join(str(p) for p in places("coco8"))
    raise FileNotFoundError(
        f"coco8 is not on this machine (looked in {looked}). Download Ultralytics' coco8 there, or set "
        "HALO_VIS_TEST_DATA to the folder that holds it."
    )


def prepare(recipe: Recipe, folder: Path) -> Path:
    """Lay the recipe's data into `folder`; returns the data YAML, with absolute paths and nothing to download."""
    if recipe.data == "meadow":
        seed = recipe.seed if recipe.data_seed is None else recipe.data_seed
        return meadow.write_dataset(folder, **recipe.sizes, seed=seed)
    if recipe.data == "photos":
        return photos(folder)
    if recipe.data in ("coco8", "coco128"):
        return builtin(recipe.data, folder)
    return Path(recipe.data).resolve()


def class_names(data: Path) -> dict[int, str]:
    """Class id -> name, as a data YAML of ours or Ultralytics' own has them."""
    names = YAML.load(data)["names"]
    return {int(k): str(v) for k, v in (enumerate(names) if isinstance(names, list) else names.items())}


def photos(folder: Path) -> Path:
    """The ten photographs of `photos`: coco8 (copied, since Ultralytics writes beside labels) and the two installed."""
    images, labels = folder / "images", folder / "labels"
    for directory in (images, labels):
        directory.mkdir(parents=True, exist_ok=True)
    for picture in sorted((find_coco8() / "images").rglob("*.jpg")):
        label = Path(str(picture).replace(f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}")).with_suffix(".txt")
        shutil.copyfile(picture, images / picture.name)
        shutil.copyfile(label, labels / label.name)
    for name, boxes in YAML.load(PHOTO_BOXES).items():
        source = INSTALLED / "assets" / name
        height, width = cv2.imread(str(source)).shape[:2]
        shutil.copyfile(source, images / name)
        side = (width, height)
        lines = []
        for c, *box in boxes:
            centre = [(box[i] + box[i + 2]) / 2 / side[i] for i in (0, 1)]
            extent = [(box[i + 2] - box[i]) / side[i] for i in (0, 1)]
            lines.append(" ".join([str(c), *(f"{v:.6f}" for v in (*centre, *extent))]))
        (labels / name).with_suffix(".txt").write_text("\n".join(lines) + "\n")
    names = YAML.load(INSTALLED / "cfg" / "datasets" / "coco8.yaml")["names"]
    path = folder / "data.yaml"
    YAML.save(
        path, {"path": str(folder.resolve()), "train": "images", "val": "images", "test": "images", "names": names}
    )
    return path
