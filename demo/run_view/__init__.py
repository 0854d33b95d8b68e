"""Runs as they train: progress, curves, attention of one query, comparison, log: one component of the page."""

from demo.run_view.run_view import run_view, view_value

__all__ = ["run_view", "view_value"]
