"""What ended a run, in words for the person who started it."""

from __future__ import annotations

import errno
from typing import Any

from halo_vis.training.recipe import Recipe

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def explain(error: BaseException, recipe: Recipe) -> dict[str, Any]:
    """What ended a run, for people: kind, message, what to do next, and for want of memory a smaller batch."""
    message = " ".join(str(error).split())[:600] or type(error).__name__
    if isinstance(error, MemoryError) or any(words in message.lower() for words in OUT_OF_MEMORY):
        trainer = getattr(error, "trainer", None)
        batch = int(trainer.batch_size if trainer else {**recipe.common, **recipe.stages[0]}.get("batch", 16))
        said = f"There was not enough memory for batch {batch} at {recipe.imgsz} pixels."
        if batch <= 1:
            return {"kind": "memory", "message": said, "next": "Take a smaller image size."}
        step = f"Try again with batch {batch // 2}, or a smaller image size."
        return {"kind": "memory", "message": said, "next": step, "batch": batch // 2}
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        step = "Make room, then resume: nothing whole is lost."
        return {"kind": "disk", "message": "The disk is full.", "next": step}
    if isinstance(error, (FileNotFoundError, ValueError)) or "Dataset" in message:
        return {"kind": "data", "message": message, "next": "Change that, then start again."}
    return {"kind": "other", "message": f"{type(error).__name__}: {message}", "next": "The log has the details."}
