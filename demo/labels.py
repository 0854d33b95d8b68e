"""Which words a component shows, so that a change of language reaches it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from demo.texts import text

Words = str | Callable[[str], Any]  # a key of texts.py, or what makes the words in a language


class Labels:
    """Remembers components and their words."""

    def __init__(self) -> None:
        self._kept: list[tuple[gr.components.Component, dict[str, Words]]] = []

    def __call__(self, component: Any, **words: Words) -> Any:
        """Remember a component; returns it."""
        self._kept.append((component, words))
        return component

    @property
    def components(self) -> list[gr.components.Component]:
        """Those that a change of language reaches."""
        return [component for component, _ in self._kept]

    def updates(self, lang: str) -> dict[gr.components.Component, dict[str, Any]]:
        """Their words in a language, by property."""
        return {component: {name: say(lang, w) for name, w in words.items()} for component, words in self._kept}


def say(lang: str, words: Words) -> Any:
    """The words in a language."""
    return words(lang) if callable(words) else text(lang, words)
