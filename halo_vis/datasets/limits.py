"""What an upload may cost, what is wrong with it, and how both are said.

**Errors and warnings.** An upload is refused as a whole (`DataError`) when

- it is no readable zip, is damaged, encrypted, or holds what no honest tool writes: a name that leads outside, a link,
  two files of one name, files that lie over each other, a ratio or size beyond `Limits`;
- nothing can be trained from it: no pictures, no labels, no training pictures, classes that cannot be read;
- more than `BAD_LABELS` of its boxes are bad (a class out of range, a coordinate that is no number or lies outside of
  0..1, no area, a wrong number of columns), or more than `BAD_PICTURES` of its pictures cannot be decoded. Both leave
  their files and lines in `DataError.problems`. One broken picture is always forgiven.

Below those shares a bad line or picture is left out, and named in the data set's `left_out`. Everything that is put
right without a loss is a warning: a rounding overshoot or a box that reaches over the border (clipped), duplicates
(dropped), polygons and key points (their boxes are taken), crowd boxes (left out), names or splits that are missing
(made), files that are neither pictures nor labels (left out, never unpacked).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BAD_LABELS = 0.01  # share of the boxes: more is a mistake in the data set, not a slip
BAD_PICTURES = 0.1  # share of the pictures
SHOWN_PROBLEMS = 20
SHOWN_WARNINGS = 50
KEPT_PROBLEMS = 200  # of an upload of a million bad lines
MEBI = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What one upload may cost. Sizes in bytes; what is counted is what is unpacked or written, while it happens.

    Attributes:
        zip_bytes: the zip itself.
        files: its members, directories and files that are left out included.
        file_bytes: one unpacked member.
        total_bytes: all that is unpacked, and all that is written.
        ratio: unpacked to packed, of members beyond 1 MiB and of the whole.
        pixels: of one picture, told from its header before it is decoded.
        pictures: in all splits.
        classes: names.
        boxes: in all splits.
        free_bytes: left on the disk while it is written.
        seconds: for the whole import.
    """

    zip_bytes: int = 2048 * MEBI
    files: int = 100_000
    file_bytes: int = 64 * MEBI
    total_bytes: int = 8192 * MEBI
    ratio: float = 200.0
    pixels: int = 64_000_000
    pictures: int = 20_000
    classes: int = 1000
    boxes: int = 500_000
    free_bytes: int = 512 * MEBI
    seconds: float = 1800.0


@dataclass(frozen=True)
class Problem:
    """What is wrong in one place: `file` as the zip calls it ("" = the zip itself), `line` from 1 (0 = the file)."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """As a list shows it: "labels/train/a.txt, line 3: ..."."""
        where = self.file + (f", line {self.line}" if self.line else "")
        return f"{where}: {self.message}" if where else self.message


class DataError(ValueError):
    """Data that is not taken. The message is for people; `problems` names files and lines, at most 200 of them."""

    def __init__(
        self, message: str, problems: Iterable[Problem] = (), count: int | None = None, listed: bool = True
    ) -> None:
        """Take the rule that was broken, what broke it, and how often where that is more than `problems` holds.

        Without `listed` the message has said it all, and `problems` only tells the page where.
        """
        self.problems = tuple(problems)
        self.count = len(self.problems) if count is None else count
        lines = [str(problem) for problem in self.problems[:SHOWN_PROBLEMS] if listed]
        if self.count > len(lines) and lines:
            lines.append(f"and {self.count - len(lines)} more.")
        super().__init__("\n".join([message, *lines]))


class Notes:
    """Problems and warnings of one import, counted however many there are."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.count = 0
        self._warned: dict[str, list] = {}

    def problem(self, file: str, line: int, message: str) -> None:
        """Something that is left out."""
        self.count += 1
        if len(self.problems) < KEPT_PROBLEMS:
            self.problems.append(Problem(file, line, message))

    def warn(self, text: str, file: str = "", line: int = 0) -> None:
        """Something that was put right; the same text counts its places and shows the first."""
        if text in self._warned:
            self._warned[text][0] += 1
        else:
            self._warned[text] = [1, file + (f", line {line}" if line else "")]

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line per kind of warning."""
        lines = []
        for text, (count, first) in self._warned.items():
            if len(lines) == SHOWN_WARNINGS:
                lines.append(f"and {len(self._warned) - len(lines)} other warnings")
                break
            if count > 1:
                lines.append(f"{text} ({count} times, first in {first})" if first else f"{text} ({count} times)")
            else:
                lines.append(f"{text} ({first})" if first else text)
        return tuple(lines)

    def refuse(self, message: str) -> None:
        """Raise with all problems so far."""
        raise DataError(message, self.problems, self.count)


class Budget:
    """What an import has used of its limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.deadline = time.monotonic() + limits.seconds
        self.read = self.written = 0

    def tick(self) -> None:
        """Raise when the time is up."""
        if time.monotonic() > self.deadline:
            raise DataError(
                f"the import takes longer than {self.limits.seconds:g} s, the limit. Upload fewer or smaller pictures."
            )

    def unpack(self, size: int) -> None:
        """Count bytes as they come out of the zip."""
        self.tick()
        self.read += size
        if self.read > self.limits.total_bytes:
            raise DataError(f"more than {readable(self.limits.total_bytes)} come out of the zip, the limit. {SMALLER}")

    def write(self, size: int, folder: Path) -> None:
        """Count bytes before they are written into `folder`."""
        self.tick()
        self.written += size
        if self.written > self.limits.total_bytes:
            raise DataError(f"more than {readable(self.limits.total_bytes)} would be written, the limit. {SMALLER}")
        free = shutil.disk_usage(folder).free
        if free - size < self.limits.free_bytes:
            raise DataError(
                f"the disk has {readable(free)} left, and {readable(self.limits.free_bytes)} must stay free. "
                "Delete data sets or runs, then upload again."
            )


SMALLER = "Upload fewer or smaller pictures."


def readable(size: float) -> str:
    """Bytes for people: "12.5 MiB"."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
