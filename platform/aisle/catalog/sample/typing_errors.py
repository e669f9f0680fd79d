"""Typing errors as people make them: a slipped finger, a forgotten letter, a spelling by ear.

Words with digits are left alone except for a lost space ("65 w" becomes "65w"): a changed number is another wish,
not a misspelling.
"""

from __future__ import annotations

import random
from collections.abc import Callable

_NEIGHBOURS = {
    "a": "qsz",
    "b": "vgn",
    "c": "xvd",
    "d": "sfe",
    "e": "wrd",
    "f": "dgr",
    "g": "fht",
    "h": "gjy",
    "i": "uok",
    "j": "hku",
    "k": "jli",
    "l": "kop",
    "m": "nk",
    "n": "bmh",
    "o": "ipl",
    "p": "ol",
    "q": "wa",
    "r": "etf",
    "s": "adw",
    "t": "ryg",
    "u": "yij",
    "v": "cbg",
    "w": "qes",
    "x": "zcs",
    "y": "tuh",
    "z": "xa",
}
_BY_EAR = (
    ("ie", "ei"),
    ("ei", "ie"),
    ("ph", "f"),
    ("ck", "k"),
    ("qu", "kw"),
    ("ch", "tch"),
    ("tion", "sion"),
    ("able", "ible"),
    ("ant", "ent"),
    ("ent", "ant"),
    ("er", "or"),
    ("or", "er"),
    ("le", "el"),
    ("ea", "ee"),
    ("ee", "ea"),
    ("ou", "u"),
    ("igh", "ite"),
    ("wh", "w"),
    ("c", "k"),
    ("s", "z"),
    ("y", "i"),
)
_VOWELS = frozenset("aeiou")
_SHORTEST = 4
"""Letters below which a word is left alone: an error in "mug" makes another word."""


def misspell(text: str, rng: random.Random) -> str:
    """The text with one typing error, sometimes two; the same text where no word is long enough."""
    typed = _one_error(text, rng)
    if rng.random() < 0.18:
        typed = _one_error(typed, rng)
    return typed


def _one_error(text: str, rng: random.Random) -> str:
    tokens = text.split(" ")
    if len(tokens) > 1 and rng.random() < 0.12:
        return _lose_space(tokens, rng)
    eligible = [
        i
        for i, word in enumerate(tokens)
        if len(word) >= _SHORTEST and word.isascii() and not _has_digit(word)
    ]
    if not eligible:
        return text
    # Longer words draw more errors.
    at = rng.choices(eligible, [len(tokens[i]) for i in eligible])[0]
    for _ in range(8):
        typed = _pick_error(rng)(tokens[at], rng)
        if typed != tokens[at]:
            return " ".join([*tokens[:at], typed, *tokens[at + 1 :]])
    return text


def _has_digit(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def _lose_space(tokens: list[str], rng: random.Random) -> str:
    # A space goes missing most often between a number and its unit.
    units = [
        i for i in range(len(tokens) - 1) if tokens[i][-1:].isdigit() and tokens[i + 1].isalpha()
    ]
    at = rng.choice(units) if units and rng.random() < 0.7 else rng.randrange(len(tokens) - 1)
    return " ".join([*tokens[:at], tokens[at] + tokens[at + 1], *tokens[at + 2 :]])


def _pick_error(rng: random.Random) -> Callable[[str, random.Random], str]:
    return rng.choices(_ERRORS, _ERROR_WEIGHTS)[0]


def _position(word: str, rng: random.Random) -> int:
    """A place in the word; the first letter is rarely wrong."""
    return 0 if rng.random() < 0.06 else rng.randrange(1, len(word))


def _drop(word: str, rng: random.Random) -> str:
    at = _position(word, rng)
    # A dropped final s would only make a plural singular, which is no error.
    return word if at == len(word) - 1 and word[at] == "s" else word[:at] + word[at + 1 :]


def _double(word: str, rng: random.Random) -> str:
    at = _position(word, rng)
    return word[: at + 1] + word[at:] if word[at].isalpha() else word


def _swap(word: str, rng: random.Random) -> str:
    at = min(_position(word, rng), len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _slip(word: str, rng: random.Random) -> str:
    at = _position(word, rng)
    near = _NEIGHBOURS.get(word[at])
    return word[:at] + rng.choice(near) + word[at + 1 :] if near else word


def _insert(word: str, rng: random.Random) -> str:
    at = _position(word, rng)
    near = _NEIGHBOURS.get(word[at])
    return word[:at] + rng.choice(near) + word[at:] if near else word


def _by_ear(word: str, rng: random.Random) -> str:
    options = [(heard, written) for heard, written in _BY_EAR if heard in word[1:]]
    if not options:
        return word
    heard, written = rng.choice(options)
    at = word.index(heard, 1)
    return word[:at] + written + word[at + len(heard) :]


def _consonants(word: str, rng: random.Random) -> str:
    """A doubled consonant written once, or a single one between vowels written twice."""
    doubled = [i for i in range(1, len(word)) if word[i] == word[i - 1] and word[i] not in _VOWELS]
    if doubled:
        at = rng.choice(doubled)
        return word[:at] + word[at + 1 :]
    single = [
        i
        for i in range(1, len(word) - 1)
        if word[i].isalpha() and word[i] not in _VOWELS and word[i - 1] in _VOWELS
    ]
    if not single:
        return word
    at = rng.choice(single)
    return word[:at] + word[at] + word[at:]


def _vowel(word: str, rng: random.Random) -> str:
    at = [i for i in range(1, len(word)) if word[i] in _VOWELS]
    if not at:
        return word
    i = rng.choice(at)
    return word[:i] + rng.choice("aeiou") + word[i + 1 :]


def _split(word: str, rng: random.Random) -> str:
    if len(word) < 7:
        return word
    at = rng.randrange(3, len(word) - 2)
    return f"{word[:at]} {word[at:]}"


_ERRORS = (_drop, _double, _swap, _slip, _insert, _by_ear, _consonants, _vowel, _split)
_ERROR_WEIGHTS = (18, 9, 15, 14, 7, 13, 12, 9, 3)
