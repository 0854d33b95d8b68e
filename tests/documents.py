"""An HTML file read by the standard library's parser, which knows nothing of ours."""

from __future__ import annotations

from html.parser import HTMLParser


class Document(HTMLParser):
    """Elements with their attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict, list[str]]] = []
        self.stack: list[int] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.stack.append(len(self.elements))
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.elements[self.stack.pop()][0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.stack:
            self.elements[self.stack[-1]][2].append(data)

    def all(self, tag: str) -> list[tuple[dict, str]]:
        """Attributes and text of every element of a kind."""
        return [(attrs, "".join(text)) for name, attrs, text in self.elements if name == tag]

    def data(self, name: str) -> str:
        """The text of one data element."""
        return next(text for attrs, text in self.all("script") if attrs.get("data-file") == name)
