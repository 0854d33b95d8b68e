"""The endpoints /train, /runs, /run_status and /run_action: the same checks as behind the buttons."""

from __future__ import annotations

from typing import Any

import gradio as gr

from demo.limits import limits
from demo.messages import log
from demo.texts import text
from demo.train_plan import Plan, why
from demo.train_service import Training


class Api:
    """Functions for scripts. `owner`: a secret of 32 or more letters and digits, kept by whoever calls."""

    def __init__(self, training: Training) -> None:
        self.training = training
        for function in (self.train, self.runs, self.run_status, self.run_action):
            gr.api(
                function,
                api_name=function.__name__,
                api_description=function.__doc__,
                concurrency_id="train-api",
                concurrency_limit=4,
            )

    def train(self, plan: dict, owner: str = "") -> dict:
        """Queue a run. plan: values by the names of a saved plan.yaml; what is missing has its default."""
        return self._told(lambda: {"id": self.training.start(Plan.from_dict(plan).as_dict(), owner).id})

    def runs(self, owner: str = "", search: str = "") -> list:
        """The runs that the owner may see, the newest first."""
        return self._told(lambda: self.training.history(owner, search))

    def run_status(self, run: str, owner: str = "") -> dict:
        """What is known of a run now: state, progress, curves, comparison, the end of its log."""
        return self._told(lambda: self.training.snapshot(run, owner))

    def run_action(self, run: str, action: str, owner: str = "") -> dict:
        """Stop (at the end of the epoch), stop_now, kill, or resume a run."""

        def act() -> dict[str, Any]:
            self.training.act(action, run, owner)
            return {"id": run, "state": self.training.snapshot(run, owner)["state"]}

        return self._told(act)

    def _told(self, do: Any) -> Any:
        """What `do` returns; an error in a line, never a traceback."""
        try:
            limits()
            return do()
        except Exception as error:
            raise gr.Error(_words(error), print_exception=False) from None


def _words(error: Exception) -> str:
    """An exception in English words."""
    from demo.guards import Refused

    if isinstance(error, Refused):
        return text("en", str(error))
    if hasattr(error, "field") or hasattr(error, "key"):
        return why(error, "en")
    if isinstance(error, (ValueError, OSError, RuntimeError, LookupError)):
        return getattr(error, "strerror", None) or str(error)
    log.exception("an endpoint failed", exc_info=error)
    return text("en", "unexpected")
