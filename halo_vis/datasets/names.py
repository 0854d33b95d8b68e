"""Class names: the only thing that is taken from a data set's YAML.

The YAML is read as plain text values (nothing is constructed, so ``no`` stays a name), after its events were scanned: a
tag, an alias, deep nesting or a large file is refused before anything is built from it.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import yaml

from halo_vis.datasets.archive import printable
from halo_vis.datasets.limits import DataError, Notes, Problem

LARGEST_YAML = 128 * 1024
DEEPEST = 16
MOST_PARTS = 20_000  # a name is one or two
LONGEST = 100  # characters of a class name


@dataclass(frozen=True)
class Names:
    """Class names and where they are from; `keypoints`: columns that follow each box in a pose data set."""

    names: tuple[str, ...]
    source: str
    keypoints: int = 0


def read_yaml(content: bytes, file: str, most: int = LARGEST_YAML) -> dict:
    """A YAML's mapping, every scalar as text; of at most `most` bytes.

    Raises:
        DataError: too large, no YAML, no mapping, or with tags, aliases or nesting that no data set's YAML needs.
    """

    def refuse(message: str, line: int = 0) -> None:
        raise DataError(f"{file} is not taken.", [Problem(file, line, message)])

    if len(content) > most:
        refuse(f"has {len(content)} bytes; a data set's YAML has at most {most}")
    try:
        text = content.decode("utf-8-sig")
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            if number > MOST_PARTS:
                refuse(f"has more than {MOST_PARTS} parts, which takes long to read and names nothing")
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                refuse("has an alias (*name), which may hide a bomb. Write the values out", line)
            if getattr(event, "tag", None):
                refuse(f"has the tag {printable(event.tag)[:80]!r}, which may run code. Take it out", line)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                refuse(f"is nested more than {DEEPEST} deep", line)
        value = yaml.load(text, Loader=yaml.BaseLoader)  # text, lists and mappings only: builds no objects
    except DataError:
        raise
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
        refuse(f"is no YAML: {printable(str(said))[:200]}", mark.line + 1 if mark else 0)
    if not isinstance(value, dict):
        refuse("holds no 'names:'")
    return value


def names_in_yaml(content: bytes, file: str, most: int, notes: Notes) -> Names | None:
    """The names that a data set's YAML gives, or None where it gives none; what it would have done is warned of."""
    values = read_yaml(content, file)
    _warn_ignored(values, file, notes)
    if any(key in values for key in ("backbone", "head")):
        notes.warn("a model's YAML: left out, models are chosen on the page", file)
        return None
    given, count = values.get("names"), _count(values.get("nc"))
    if isinstance(given, dict):
        try:
            numbered = {int(key): name for key, name in given.items()}
        except ValueError as error:
            problem = Problem(file, 0, "'names' must number classes 0, 1, ...")
            raise DataError(f"{file} is not taken.", [problem]) from error
        if len(numbered) != len(given) or sorted(numbered) != list(range(len(numbered))):
            problem = Problem(file, 0, f"'names' must number {len(given)} classes from 0 without a gap")
            raise DataError(f"{file} is not taken.", [problem])
        given = [numbered[i] for i in range(len(numbered))]
    if given in (None, "") and count:
        return Names(tuple(made_names(min(count, most + 1), most, notes)), file, _keypoints(values))
    if not isinstance(given, list) or not given:
        return None
    if any(not isinstance(name, str) for name in given):
        raise DataError(f"{file} is not taken.", [Problem(file, 0, "'names' must be a list of words")])
    if count is not None and count != len(given):
        notes.warn(f"'nc' is {count}, but {len(given)} names are given: the names count", file)
    return Names(clean_names(given, most, file, notes), file, _keypoints(values))


def names_in_text(content: bytes, file: str, most: int, notes: Notes) -> Names | None:
    """The names of a classes.txt or obj.names: one per line."""
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not taken.", [Problem(file, 0, "is no UTF-8 text. Save it as UTF-8")]) from error
    while lines and not lines[-1]:
        lines.pop()
    return Names(clean_names(lines, most, file, notes), file) if lines else None


def made_names(count: int, most: int, notes: Notes) -> list[str]:
    """Names for classes that have none: class0, class1, ..."""
    if count > most:
        raise DataError(f"the data set has {count} classes or more; at most {most} are taken.")
    notes.warn("no class names are given (a data.yaml with 'names:'): they are called class0, class1, ...")
    return [f"class{i}" for i in range(count)]


def clean_names(given: list[str], most: int, file: str, notes: Notes) -> tuple[str, ...]:
    """Names of one line each, none empty, none twice."""
    if len(given) > most:
        raise DataError(f"{file} names {len(given)} classes; at most {most} are taken.")
    names: list[str] = []
    for number, raw in enumerate(given):
        words = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", raw))
        name = " ".join(words.split())[:LONGEST]
        if not name:
            name = f"class{number}"
            notes.warn("a class without a name: called by its number", file)
        elif name != raw.strip():
            notes.warn("a class name was shortened, or control characters were taken out of it", file)
        if name in names:
            notes.warn("two classes have the same name: the second is numbered", file)
            name = next(f"{name} ({n})" for n in range(2, len(given) + 2) if f"{name} ({n})" not in [*names, *given])
        names.append(name)
    return tuple(names)


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9 else None


def _keypoints(values: dict) -> int:
    shape = values.get("kpt_shape")
    if not isinstance(shape, list) or len(shape) != 2:
        return 0
    sides = [_count(side) for side in shape]
    return sides[0] * sides[1] if all(sides) else 0


def _warn_ignored(values: dict, file: str, notes: Notes) -> None:
    if values.get("download"):
        notes.warn("'download:' is ignored: nothing that comes in a zip is fetched or run", file)
    for key in ("path", "train", "val", "test", "minival"):
        asked = values.get(key)
        for place in asked if isinstance(asked, list) else [asked]:
            # Roboflow writes ../train/images for its own folders; that one means nothing outside.
            inner = str(place or "").replace("\\", "/").removeprefix("../")
            leads_out = inner.startswith("/") or inner[1:2] == ":" or "://" in inner or ".." in inner.split("/")
            if leads_out or inner.endswith(".txt"):
                notes.warn(f"'{key}:' is ignored: splits are told by the folders of the zip", file)
