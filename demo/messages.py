"""What the page says below its controls: one line, escaped, never a traceback."""

from __future__ import annotations

import html
import logging

from demo import guards
from demo.texts import text

log = logging.getLogger("halo_vis")


def status(message: str, kind: str = "note") -> str:
    """A line below the controls; escaped, since names of files and classes are anybody's."""
    return f'<p role="status" data-kind="{kind}">{html.escape(message)}</p>'


def problem(error: Exception, lang: str) -> str:
    """What the page says of an exception: the reason where it is ours to give, never a traceback."""
    if isinstance(error, guards.Refused):
        return status(text(lang, str(error)), "error")
    if isinstance(error, (ValueError, OSError, RuntimeError, LookupError)):
        log.info("refused: %s", error)
        # The system's own words without the server's path; errors of ours have no strerror.
        reason = getattr(error, "strerror", None) or str(error).strip("'\"")
        return status(text(lang, "failed", error=reason), "error")
    log.exception("an inspection failed", exc_info=error)
    return status(text(lang, "unexpected"), "error")
