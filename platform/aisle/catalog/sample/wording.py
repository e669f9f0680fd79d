"""Writes a product's title and description from what it is.

Titles follow one of several house styles, because suppliers write them; they use a synonym in a quarter of the
cases and leave attributes out, so that a query's words and a product's words differ as they do in a real shop.
Descriptions mention exactly the uses and features of the draft.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from aisle.catalog.sample.lexicon import COMPATIBLE
from aisle.catalog.sample.phrases import said
from aisle.catalog.sample.records import Department, ProductType, is_plural, plural

_SYNONYM_FRACTION = 0.25
_SMALL_WORDS = frozenset(
    {"a", "an", "and", "at", "by", "for", "in", "of", "on", "or", "the", "to", "up", "with"}
)
_AFTER_NAME = (COMPATIBLE, "age", "skin_type", "hair_type")


@dataclass(frozen=True, slots=True)
class Draft:
    """A product before it has an id and words."""

    department: Department
    kind: ProductType
    brand: str
    model: str
    attributes: Mapping[str, tuple[str, ...]]
    uses: tuple[str, ...]
    features: tuple[str, ...]
    price: float


def title(draft: Draft, rng: random.Random) -> str:
    """A title in one of the suppliers' styles: single spaces, no empty brackets."""
    name = _capitals(_name(draft.kind, rng))
    if "gender" in draft.attributes:
        name = f"{_capitals(said('gender', draft.attributes['gender'][0]))} {name}"
    after = " ".join(f"for {_capitals(text)}" for text in _said_after(draft))
    color, material, rest = _spoken_values(draft, rng)
    brand, model = draft.brand, draft.model
    front = " ".join(filter(None, (color, material)))
    values = [value for value in (material, *rest, color) if value]
    style = rng.randrange(7)
    if style == 0:
        text = ", ".join([_spaced(brand, model, name, after), *values])
    elif style == 1:
        text = _spaced(brand, name, model, *rest, material, after)
        text += f" - {color}" if color else ""
    elif style == 2:
        text = _spaced(name, brand, model, after)
        text += f" ({', '.join(values)})" if values else ""
    elif style == 3:
        text = _spaced(front, name, model, after, "by", brand)
        text += f", {', '.join(rest)}" if rest else ""
    elif style == 4:
        text = _spaced(brand, color, material, name, model, after)
        text += f" | {' | '.join(rest)}" if rest else ""
    elif style == 5:
        feature = rng.choice(draft.features).removeprefix("a ").removeprefix("an ")
        text = _spaced(brand, model, name, after, "with", _capitals(feature))
        text += f", {', '.join(values[:2])}" if values else ""
    else:
        text = _spaced(brand, model, *values, name, after)
    return text[0].upper() + text[1:]


def describe(draft: Draft, rng: random.Random) -> str:
    """One to three sentences: what it is and for whom, what it has, a plain fact or two."""
    noun = _Noun(_name(draft.kind, rng), draft)
    opening, told_features = _opening(draft, noun, rng)
    sentences = [opening]
    features = _listed(draft.features)
    if not told_features:
        pattern = rng.choice(
            (
                "{It_has} {features}.",
                "{It_comes} with {features}.",
                "You get {features}.",
                "What sets {it} apart: {features}.",
                "Our buyers like {features}.",
            )
        )
        sentences.append(noun.fill(pattern, features=features))
    if len(sentences) < 3 and rng.random() < 0.6:
        fact = _fact(draft, opening, rng)
        if fact:
            sentences.append(fact)
    if len(sentences) < 3 and rng.random() < 0.15:
        sentences.append(rng.choice(_CLOSINGS))
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _opening(draft: Draft, noun: _Noun, rng: random.Random) -> tuple[str, bool]:
    pattern, tells_features = rng.choice(_OPENINGS)
    text = noun.fill(
        pattern,
        brand=draft.brand,
        called=_spaced(draft.brand, draft.model),
        uses=_listed(draft.uses),
        features=_listed(draft.features),
    )
    return text, tells_features


_OPENINGS = (
    ("{this} {name} from {brand} {is_} made for {uses}.", False),
    ("ideal for {uses}: {a_name} with {features}.", True),
    ("{a_looked} {name} for {uses}.", False),
    ("looking for {a_name} for {uses}? {called} delivers {features}.", True),
    ("with {features}, {this} {name} {is_} a good choice for {uses}.", True),
    ("the {called} {name} {is_} our tip for {uses}.", False),
    ("{called}: {a_looked} {name} for {uses}.", False),
    ("for {uses} we recommend {this} {name} with {features}.", True),
    ("{this} {looked} {name} by {brand} {is_} just right for {uses}.", False),
    ("customers choose the {called} {name} for {uses} because of {features}.", True),
    ("thanks to {features}, {this} {name} {is_} well suited to {uses}.", True),
    ("{brand} {name} for {uses}.", False),
    ("{brand} designed {this} {name} with {uses} in mind.", False),
    ("{a_name} by {brand}, great for {uses}.", False),
    ("perfect for {uses}, {this} {name} {has} {features}.", True),
    ("whether for {uses} or simply every day, {this} {name} will not let you down.", False),
    ("{this} {looked} {name} {has} {features} and {is_} popular for {uses}.", True),
)
_CLOSINGS = (
    "Two-year guarantee included.",
    "Ships in plastic-free packaging.",
    "Easy to clean and quick to put away.",
    "A favourite among our regular customers.",
    "Designed in Europe.",
    "Spare parts are available for five years.",
)
_FACTS: Mapping[str, str] = {
    "color": "Colour: {v}.",
    "ink_color": "Contains {v}.",
    "material": "Made of {v}.",
    "size": "Size: {v}.",
    "capacity": "Holds {v}.",
    "wattage": "Rated at {v}.",
    "screen_size": "Suits a {v} screen.",
    "pack_size": "Sold as a {v}.",
    "compatible_with": "Fits {v}.",
    "battery_life": "Runs for up to {v}.",
    "length": "Length: {v}.",
    "age": "Recommended from {v}.",
    "skin_type": "Developed for {v}.",
    "hair_type": "Developed for {v}.",
    "power": "Power source: {v}.",
    "fuel": "Runs on {v}.",
    "gender": "Cut for {v}.",
    "filling": "Filled with {v}.",
    "weight": "Weight: {v}.",
    "players": "For {v}.",
    "persons": "A {v} model.",
    "resolution": "Resolution: {v}.",
    "connectivity": "Connects through {v}.",
}


class _Noun:
    """A product's name with the words that agree with it."""

    def __init__(self, name: str, draft: Draft) -> None:
        many = is_plural(name)
        countable = plural(name) != name
        look = draft.attributes.get("color") or draft.attributes.get("material") or ("",)
        looked = look[0]
        first = f"{looked} {name}".strip()
        self._words = {
            "name": name,
            "this": "these" if many else "this",
            "is_": "are" if many else "is",
            "has": "have" if many else "has",
            "it": "them" if many else "it",
            "It_has": "they have" if many else "it has",
            "It_comes": "they come" if many else "it comes",
            "looked": looked,
            "a_name": f"{_article(name)} {name}" if countable else name,
            "a_looked": f"{_article(first)} {looked}".strip() if countable else looked,
        }

    def fill(self, pattern: str, **more: str) -> str:
        return _tidy(pattern.format(**self._words, **more))


def _fact(draft: Draft, opening: str, rng: random.Random) -> str:
    """A sentence on an attribute that the opening has not told; empty where there is none."""
    keys = [
        key
        for key, values in draft.attributes.items()
        if key in _FACTS and values[0] not in opening
    ]
    if draft.kind.name in ("monitor", "television", "laptop"):
        keys = [key for key in keys if key != "screen_size"]
    if not keys:
        return ""
    key = rng.choice(keys)
    return _FACTS[key].format(v=_listed(draft.attributes[key]))


def _name(kind: ProductType, rng: random.Random) -> str:
    return rng.choice(kind.synonyms) if rng.random() < _SYNONYM_FRACTION else kind.name


def _said_after(draft: Draft) -> list[str]:
    """What the title says after "for": devices, ages, skin or hair."""
    return [
        said(key, _listed(draft.attributes[key])).removeprefix("for ")
        for key in _AFTER_NAME
        if key in draft.attributes
    ][:2]


def _spoken_values(draft: Draft, rng: random.Random) -> tuple[str, str, list[str]]:
    """Colour, material and the other values that this title mentions; each is left out now and then."""
    spoken: dict[str, str] = {}
    for key, values in draft.attributes.items():
        if key in _AFTER_NAME or key == "gender" or rng.random() < 0.22:
            continue
        text = said(key, values[0])
        if key == "pack_size":
            text = rng.choice((text, f"Pack of {text.split()[0]}", f"{text.split()[0]}-pack"))
        elif (
            re.fullmatch(r"\d+(\.\d+)? (W|GB|TB|L|ml|cm|mm|mAh|kg|m)", text) and rng.random() < 0.4
        ):
            text = text.replace(" ", "")  # as many suppliers write it
        spoken[key] = _capitals(text)
    color = spoken.pop("color", "")
    material = spoken.pop("material", "")
    rest = list(spoken.values())
    rng.shuffle(rest)
    return color, material, rest[:3]


def _capitals(text: str) -> str:
    """Title case that leaves numbers, units and names as they are."""
    units = re.compile(r"^\d|^[A-Z]")
    out = []
    tokens = text.split(" ")
    for i, token in enumerate(tokens):
        after_number = i > 0 and tokens[i - 1][-1:].isdigit() and len(token) <= 4
        keep = units.match(token) or after_number or (i > 0 and token in _SMALL_WORDS)
        out.append(token if keep else token[:1].upper() + token[1:])
    return " ".join(out)


def _listed(parts: tuple[str, ...]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _article(words: str) -> str:
    first = words.split()[0]
    if first.lower().startswith(("one", "uni", "usb", "euro")):
        return "a"
    spelled = first.isupper() and first[0] in "FLMNRSX" and len(first) <= 3
    return "an" if spelled or first[0].lower() in "aeiou" or first.startswith("8") else "a"


def _spaced(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _tidy(text: str) -> str:
    return re.sub(r" {2,}", " ", text).strip()
