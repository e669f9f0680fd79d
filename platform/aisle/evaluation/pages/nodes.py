"""HTML and SVG as a tree of elements: the serialiser escapes every text and attribute, so no caller can forget to.

What queries and catalogues hold is anybody's text. It becomes text nodes and attribute values only, never markup.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

Node = ElementTree.Element
Child = Node | str | int | float | None

# What HTML cannot hold: control characters but tab and line ends, and lone surrogates, which UTF-8 cannot either.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def node(tag: str, *children: Child, **attributes: str | float | None) -> Node:
    """An element; `class_` and `stroke_width` become `class` and `stroke-width`, None leaves an attribute out.

    >>> page_text(node("p", "a < b", node("b", 1), class_="x"))
    '<p class="x">a &lt; b<b>1</b></p>'
    """
    named = {
        name.rstrip("_").replace("_", "-"): _text(value)
        for name, value in attributes.items()
        if value is not None
    }
    made = ElementTree.Element(tag, named)
    add(made, *children)
    return made


def add(parent: Node, *children: Child) -> None:
    """Appends children in order; None adds nothing."""
    for child in children:
        if child is None:
            continue
        if isinstance(child, ElementTree.Element):
            parent.append(child)
        elif len(parent):
            parent[-1].tail = (parent[-1].tail or "") + _text(child)
        else:
            parent.text = (parent.text or "") + _text(child)


def page_text(root: Node) -> str:
    """The tree as HTML."""
    return ElementTree.tostring(root, encoding="unicode", method="html")


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return _NOT_TEXT.sub("\ufffd", value)
    return f"{value:g}"
