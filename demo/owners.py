"""Whose run is whose: a random secret in the visitor's browser, its digest in the run folder.

Gradio's `api_visibility="private"` only hides an endpoint: a raw request still reaches its handler. So every handler
asks here, with what the request brought.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from demo import guards
from demo.guards import Refused
from demo.limits import Limits, limits

_SECRET = re.compile(r"[A-Za-z0-9_-]{32,100}")


def new_secret() -> str:
    """A secret for a visitor who has none."""
    return secrets.token_urlsafe(32)


def is_secret(value: object) -> bool:
    """Whether a request brought something that `new_secret` could have made."""
    return isinstance(value, str) and bool(_SECRET.fullmatch(value))


def owner_of(secret: object) -> str:
    """The name under which a visitor's runs are kept: 64 hex digits, "" for who brought no secret."""
    return hashlib.sha256(secret.encode()).hexdigest() if is_secret(secret) else ""


def is_theirs(run: Path, secret: object, bounds: Limits) -> bool:
    """Whether a visitor may see, stop, change and delete a run, by its folder."""
    if bounds.training == "anyone":
        return True
    owner = owner_of(secret)
    try:
        kept = json.loads((run / "about.json").read_text(encoding="utf-8")).get("owner")
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    return bool(owner) and isinstance(kept, str) and secrets.compare_digest(kept.encode(), owner.encode())


def allowed(secret: object) -> Callable[[str], bool]:
    """Which runs a visitor may see, by their ids, as demo.catalogue asks."""
    bounds, folder = limits(), guards.runs_folder()
    return lambda run: is_theirs(folder / run, secret, bounds)


def check_may_change(bounds: Limits) -> None:
    """Whether runs and data sets may be changed here at all.

    Raises:
        Refused: nobody may.
    """
    if bounds.training == "nobody":
        raise Refused("nobody_starts")


def check_may_start(secret: object, bounds: Limits) -> None:
    """Whether a visitor may start a run.

    Raises:
        Refused: nobody may, or it could not be told from whom the run is.
    """
    check_may_change(bounds)
    if bounds.training == "owner" and not owner_of(secret):
        raise Refused("no_owner")
