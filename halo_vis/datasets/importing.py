"""Uploaded zips, rebuilt by allow-list: what comes out was written by us, from pixels and numbers.

`limits` says what is an error and what a warning, `layout` which layouts are accepted, `pictures` what becomes of the
pictures. Nothing of the zip is unpacked to the disk, no name of it becomes a path, no file of it reaches Ultralytics.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from halo_vis.datasets.archive import Archive, printable
from halo_vis.datasets.catalogue import Dataset, list_datasets
from halo_vis.datasets.coco import Coco, boxes_of, choose, merge, read_json
from halo_vis.datasets.labels import LARGEST_LABEL, Box, parse_labels
from halo_vis.datasets.layout import Item, Layout, assign, pair, sort, warn_left_out
from halo_vis.datasets.limits import (
    BAD_LABELS,
    BAD_PICTURES,
    SHOWN_PROBLEMS,
    Budget,
    DataError,
    Limits,
    Notes,
    Problem,
    readable,
)
from halo_vis.datasets.names import LARGEST_YAML, Names, made_names, names_in_text, names_in_yaml
from halo_vis.datasets.pictures import Recoded, recode, turned
from halo_vis.datasets.writing import Writer
from halo_vis.picture import PictureError

VERSION = "1"  # of what is written from the same zip: another one is another data set
Progress = Callable[[int, int], None]


def import_zip(
    path: Path, into: Path, limits: Limits | None = None, name: str = "", owner: str = "",
    progress: Progress | None = None,
) -> Dataset:  # fmt: skip
    """Take in a zip in YOLO or COCO layout as the fresh folder `into`/<id>, whole or not at all.

    The id is a safe form of the name and eight digits of the content's digest. The same file again, from the same
    owner, gives the data set that is there, without work. Imports may run side by side.

    Args:
        name: what the person calls it; "": the file's name.
        owner: whose it is, kept with it; data sets of two owners are two.
        progress: called with (pictures done, pictures in all); what it raises ends the import.

    Raises:
        DataError: the zip is not taken. The message names the rule, the value and the next step, `problems` files
            and lines. Nothing is left on the disk.
    """
    path, into, limits = Path(path), Path(into).resolve(), limits or Limits()
    budget, notes = Budget(limits), Notes()
    try:
        into.mkdir(parents=True, exist_ok=True)
        digest = _digest(path, owner, limits, budget)
        there = next((d for d in list_datasets(into) if d.digest == digest), None)
        if there:
            return there
        title = " ".join(printable(name or path.stem).split())[:100] or "data set"
        with Archive(path, budget) as archive, Writer(into, title, digest, budget) as writer:
            for text in archive.warnings:
                notes.warn(text)
            layout = sort(archive.members, limits)
            source = _yolo(archive, layout, notes) or _coco(archive, layout, notes)
            _write(archive, source, writer, notes, progress)
            return writer.finish(source.names, source.kind, owner, notes)
    except OSError as error:
        raise DataError(
            f"the data set could not be written to {into} ({error.strerror or error}). Make room or choose another "
            "folder, then upload again."
        ) from error
    except MemoryError as error:
        raise DataError("the data set needs more memory than there is. Upload fewer or smaller pictures.") from error


def _digest(path: Path, owner: str, limits: Limits, budget: Budget) -> str:
    """Of the zip's bytes, its owner, and the version of this module."""
    if not path.is_file():
        raise DataError(f"there is no file {path.name}. Upload it again.")
    if path.stat().st_size > limits.zip_bytes:
        raise DataError(
            f"the zip has {readable(path.stat().st_size)}; at most {readable(limits.zip_bytes)} are taken. "
            "Upload fewer or smaller pictures."
        )
    digest = hashlib.sha256(f"{VERSION}\n{owner}\n".encode("utf-8", "replace"))
    with path.open("rb") as f:
        while piece := f.read(1 << 20):
            budget.tick()
            digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class Source:
    """What will be written, with every label read.

    `boxes(item, picture)` gives a picture's boxes, or refuses it with PictureError; `lines`: of labels, good and bad.
    """

    kind: str
    names: tuple[str, ...]
    items: list[Item]
    boxes: Callable[[Item, Recoded], list[Box]]
    lines: int


# ---------------------------------------------------------------- YOLO
def _yolo(archive: Archive, layout: Layout, notes: Notes) -> Source | None:
    """The zip as a YOLO data set; None where no picture has a label file but there are JSON files to try."""
    limits = archive.budget.limits
    own = Notes()  # kept only if it is one
    items = pair(layout, own)
    if not any(item.label for item in items):
        if layout.jsons:
            return None
        raise DataError(
            "the zip has no labels: no picture has a text file of its name in labels/ or beside it, and there are no "
            "COCO annotations. Put labels/train/NAME.txt beside images/train/NAME.jpg."
        )
    for text in own.warnings:
        notes.warn(text)
    warn_left_out([*layout.jsons, *layout.others], notes)
    archive.take([*layout.pictures, *(i.label for i in items if i.label), *layout.yamls, *layout.lists])
    names = _names(archive, layout, notes)
    items = assign(items, notes)
    boxes: dict[str, list[Box]] = {}
    lines = 0
    for item in items:
        if item.label and item.label not in boxes:
            content = archive.read(item.label, LARGEST_LABEL)
            count = len(names.names) if names else 0
            keypoints = names.keypoints if names else 0
            boxes[item.label], more = parse_labels(content, item.label, count, notes, keypoints)
            lines += more
            if lines > limits.boxes:
                raise DataError(f"the labels have more than {limits.boxes} boxes, the most that is taken.")
    if not names:
        count = 1 + max((box.cls for found in boxes.values() for box in found), default=0)
        given = tuple(made_names(count, limits.classes, notes))
    else:
        given = names.names
    return Source("yolo", given, items, lambda item, _: boxes.get(item.label, []), lines)


def _names(archive: Archive, layout: Layout, notes: Notes) -> Names | None:
    """The class names: of the first YAML that has some, else of a list; None where there are none."""
    most = archive.budget.limits.classes
    found: Names | None = None
    failed: list[Problem] = []
    for files, read in ((layout.yamls, names_in_yaml), (layout.lists, names_in_text)):
        for file in files[:20]:
            try:
                names = read(archive.read(file, LARGEST_YAML), file, most, notes)
            except DataError as error:
                failed += error.problems or [Problem(file, 0, str(error))]
                continue
            if found and names and names.names != found.names:
                notes.warn(f"other class names than in {found.source}: left out", file)
            found = found or names
        if failed and not found:
            raise DataError("the class names cannot be read.", failed)
    for problem in failed:
        notes.warn(f"left out: {problem.message}", problem.file, problem.line)
    return found


# ---------------------------------------------------------------- COCO
def _coco(archive: Archive, layout: Layout, notes: Notes) -> Source:
    """The zip as a COCO data set; raises DataError where no JSON of it is COCO annotations."""
    limits = archive.budget.limits
    chosen = choose(layout.jsons)
    archive.take([*layout.pictures, *chosen])
    size = sum(archive.members[name].file_size for name in chosen)
    if size > 2 * limits.file_bytes:  # all are in memory at once, and take ten times their size there
        raise DataError(
            f"the annotations have {readable(size)} in all; at most {readable(2 * limits.file_bytes)} are taken. "
            "Leave out outlines, or upload fewer pictures."
        )
    files = {name: read_json(archive.read(name), name, limits) for name in chosen}
    known = {name: value for name, value in files.items() if value is not None}
    if not known:
        raise DataError(
            "the zip has no labels: no text file beside a picture, and no JSON with 'images', 'annotations' and "
            "'categories'. Put annotations/instances_train.json into it, or labels/train/NAME.txt."
        )
    warn_left_out(sorted({*layout.jsons, *layout.labels, *layout.yamls, *layout.others} - set(known)), notes)
    coco = merge(known, layout.pictures, limits, notes)
    if not coco.names:
        raise DataError("the annotations have no categories with an 'id'. Add them, or export the data set again.")
    for picture in layout.pictures:
        if picture not in coco.sizes:
            notes.warn("a picture that no annotation file lists: left out", picture)
    if not coco.sizes:
        notes.refuse("no picture of the annotations is in the zip. Their 'file_name' must be the pictures' names.")
    items = assign([Item(picture, coco.splits[picture]) for picture in sorted(coco.sizes)], notes)

    def boxes(item: Item, picture: Recoded) -> list[Box]:
        return boxes_of(coco, item.picture, _turn(coco, item.picture, picture, notes), notes)

    return Source("coco", coco.names, items, boxes, coco.lines + len(coco.sizes))


def _turn(coco: Coco, name: str, picture: Recoded, notes: Notes) -> Callable[..., tuple] | None:
    """How the annotations' frame lies in the upright picture: as it is (None), or turned by its EXIF tag."""
    said, upright = coco.sizes[name], (picture.width, picture.height)
    if said == upright:
        return None
    if said == picture.stored:
        notes.warn("boxes of the picture as it is stored: turned with it by its EXIF tag", name)
        return partial(turned, orientation=picture.orientation)
    if abs(said[0] * upright[1] - said[1] * upright[0]) <= max(*said, *upright):  # scaled, to a pixel's rounding
        notes.warn("the annotations are of the picture at another size: scaled", name)
        return None
    raise PictureError(f"has {upright[0]} x {upright[1]} pixels, its annotations are for {said[0]} x {said[1]}")


# ---------------------------------------------------------------- writing
def _write(archive: Archive, source: Source, writer: Writer, notes: Notes, progress: Progress | None) -> None:
    """Decode, check and write every picture with its boxes."""
    _check_labels(notes, source.lines)
    items, broken = source.items, Notes()
    allowed = max(1, int(BAD_PICTURES * len(items)))
    by_digest: dict[str, str] = {}
    for done, item in enumerate(items):
        if progress:
            progress(done, len(items))
        try:
            picture = recode(archive.read(item.picture), item.picture, archive.budget.limits.pixels)
            boxes = source.boxes(item, picture)
        except PictureError as error:
            broken.problem(item.picture, 0, str(error))
            if broken.count > allowed + SHOWN_PROBLEMS:
                break
            continue
        first = by_digest.setdefault(picture.digest, item.split)
        if first != item.split:
            said = f"the same picture in {first} and {item.split}: it is measured on what was learned"
            notes.warn(said, item.picture)
        writer.add(item.split, item.picture, picture, boxes)
    if broken.count > allowed:
        broken.refuse(
            f"more than {BAD_PICTURES:.0%} of the {len(items)} pictures cannot be used. Replace them, zip and upload "
            "again."
        )
    _check_labels(notes, source.lines)
    for problem in broken.problems:
        notes.problem(problem.file, problem.line, problem.message)
        notes.warn(f"a picture {problem.message}: left out", problem.file)
    _check_left(writer, notes, items)
    if progress:
        progress(len(items), len(items))


def _check_labels(notes: Notes, lines: int) -> None:
    if (bad := notes.count) > BAD_LABELS * max(lines, 1):
        notes.refuse(
            f"{bad} of {lines} labels are bad; at most {BAD_LABELS:.0%} are forgiven. Put them right, zip and upload "
            "again."
        )


def _check_left(writer: Writer, notes: Notes, items: list[Item]) -> None:
    asked = Counter(item.split for item in items)
    for split in ("train", "val"):
        if not writer.pictures[split]:
            notes.refuse(f"none of the {asked[split]} pictures of {split} can be used.")
    if not writer.boxes:
        notes.refuse("no picture has a box. Label some, zip and upload again.")
