"""A page of ours as a browser reads it."""

from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """Tags with attributes, and the text; fails on tags that are not closed in order."""

    VOID = frozenset({"meta", "link", "br", "wbr", "line", "rect"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.markup = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(self.markup)
        self.close()
        assert not self.open
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data

    def all(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]
