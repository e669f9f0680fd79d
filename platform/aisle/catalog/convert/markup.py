"""HTML fragments in titles and descriptions, reduced to the text that a shopper would read.

Only elements that HTML knows count as tags: "shirt <XL>" and "cable < 3 m" stay as they are. This is not a sanitiser:
what comes out is text and must be escaped again by whoever puts it on a page.
"""

from __future__ import annotations

import html
import re

INLINE = (
    "a abbr b bdi bdo big cite code del dfn em font i ins kbd mark q s samp small span strike strong sub sup tt u "
    "var"
)
BLOCK = (
    "address article aside blockquote body br button center col colgroup dd details div dl dt fieldset figcaption "
    "figure footer form h1 h2 h3 h4 h5 h6 head header hr html iframe img input label li link main meta nav object ol "
    "option p picture pre script section select source style summary table tbody td textarea tfoot th thead title tr "
    "ul video wbr"
)


def _tags(names: str) -> re.Pattern[str]:
    return re.compile(rf"</?(?:{'|'.join(names.split())})(?:[\s/][^<>]*)?>", re.IGNORECASE)


_UNSHOWN = re.compile(
    r"<(script|style)\b[^<>]*>.*?</\1\s*>|<!--.*?-->|<!\[CDATA\[|\]\]>|<!doctype[^<>]*>",
    re.I | re.S,
)
_INLINE_TAGS = _tags(INLINE)
_BLOCK_TAGS = _tags(BLOCK)
_SPACES = re.compile(r"\s+")

SUSPECT = r"<[A-Za-z/!]|&[A-Za-z#]"
"""Regular expression that every text with markup matches; the cheap test before the dear work."""


def strip_markup(text: str) -> str:
    """Takes tags and comments out, resolves entities once and collapses white space.

    >>> strip_markup("<p>Soft &amp; <b>warm</b>er</p><ul><li>wool</li></ul>")
    'Soft & warmer wool'
    >>> strip_markup("Cable &lt;3 m, size <XL>")
    'Cable <3 m, size <XL>'
    """
    text = _UNSHOWN.sub(" ", text)
    text = _INLINE_TAGS.sub("", text)
    text = _BLOCK_TAGS.sub(" ", text)
    return _SPACES.sub(" ", html.unescape(text)).strip()
