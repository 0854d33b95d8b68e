"""What the Fine-tune tab says in words and tables: everything from outside escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

from demo.messages import problem, status
from demo.texts import text
from demo.train_plan import why

MOST_PROBLEMS = 30
MOST_CLASSES = 30


def trouble(error: Exception, lang: str) -> str:
    """What the page says of an exception: fields of the form by their names there, data problems with file and line."""
    if hasattr(error, "field") or hasattr(error, "key"):
        return status(why(error, lang), "error")
    if hasattr(error, "problems"):
        first = str(error).split("\n", 1)[0]
        return status(f"{text(lang, 'data_refused')} {first}", "error") + problem_list(error.problems, lang)
    return problem(error, lang)


def duration(seconds: float, lang: str) -> str:
    """A time with its units: "45 s", "3 min 20 s", "2 h 5 min"."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return text(lang, "time_s", s=seconds)
    if seconds < 3600:
        return text(lang, "time_min", min=seconds // 60, s=seconds % 60)
    return text(lang, "time_h", h=seconds // 3600, min=seconds % 3600 // 60)


def kept_line(kept: Any, lang: str, member: str = "") -> str:
    """What of the start is kept and what starts anew; None: nothing. `member`: named first, where there are two."""
    if kept is None:
        return note(text(lang, "kept_nothing"))
    parts = [text(lang, "kept_member", member=member)] if member else []
    parts += [text(lang, "kept_stock", kept=kept.stock, total=kept.stock_total)]
    if not kept.classes:
        parts.append(text(lang, "kept_classes"))
    for state in ("kept", "positions", "anew"):
        if levels := [level for level, found in kept.halo.items() if found == state]:
            parts.append(text(lang, f"kept_halo_{state}", levels=", ".join(levels)))
    if kept.dropped:
        parts.append(text(lang, "kept_dropped", levels=", ".join(kept.dropped)))
    return note(" ".join(parts))


def note(words: str) -> str:
    """A quiet line."""
    return f'<p class="note">{html.escape(words)}</p>'


def problem_list(problems: Iterable[Any], lang: str) -> str:
    """File, line and message of each problem; the first few."""
    problems = list(problems)
    rows = []
    for found in problems[:MOST_PROBLEMS]:
        where = html.escape(str(found.file))
        if found.line:
            where += " " + html.escape(text(lang, "line", line=found.line))
        rows.append(f"<li><code>{where}</code> {html.escape(str(found.message))}</li>")
    if len(problems) > MOST_PROBLEMS:
        rows.append(f"<li>{html.escape(text(lang, 'and_more', count=len(problems) - MOST_PROBLEMS))}</li>")
    return f'<ul class="problems">{"".join(rows)}</ul>' if rows else ""


def table(head: Iterable[str], rows: Iterable[Iterable[Any]], caption: str) -> str:
    """A table whose first column names its rows."""
    top = "".join(f'<th scope="col">{html.escape(str(cell))}</th>' for cell in head)
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in rest)
        body += f'<tr><th scope="row">{html.escape(str(first))}</th>{cells}</tr>'
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def report_html(report: Any, lang: str) -> str:
    """Pictures, boxes and classes per split; what is wrong, with file and line."""
    t = lambda key: text(lang, key)  # noqa: E731
    splits = list(report.splits)
    heads = [t(f"split_{name}") for name in splits]
    counts = ("pictures", "boxes", "backgrounds")
    rows = [(head, *(report.splits[name][count] for count in counts)) for head, name in zip(heads, splits, strict=True)]
    parts = [table((t("split"), *map(t, counts)), rows, t("report_splits"))]
    classes = [(name, *(found.get(split, 0) for split in splits)) for name, found in report.per_class.items()]
    classes = sorted((row for row in classes if any(row[1:])), key=lambda row: -sum(row[1:]))
    if classes:
        parts.append(table((t("class"), *heads), classes[:MOST_CLASSES], t("report_classes")))
    if len(classes) > MOST_CLASSES:
        parts.append(note(text(lang, "and_more", count=len(classes) - MOST_CLASSES)))
    if count := problem_count(report):
        parts += [
            note(text(lang, "report_problems", count=count)),
            problem_list([*report.broken, *report.problems], lang),
        ]
    parts += [note(warning) for warning in report.warnings[:10]]
    return "".join(parts)


def problem_count(report: Any) -> int:
    """Bad labels and broken pictures."""
    return report.problem_count + len(report.broken)
