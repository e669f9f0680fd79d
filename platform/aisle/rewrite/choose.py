"""Which reading of a query is searched, and why: a pure function over what the catalogue knows.

Three may stand against each other: the query as typed, its spelling repaired from the snapshot's own words, and the
model's correction. The fewer words that no product holds the better; between two that are equal in this, the one whose
words stand together in more titles; then the repair, which has weighed its alternatives. Whatever the model says passes
`aisle.rewrite.guard` first, so a word that the shop sells is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from aisle.index.statistics import Statistics
from aisle.rewrite.guard import unknown_terms, verified
from aisle.rewrite.spelling import Spelling, SpellingRepair
from aisle.stages import Rewrite, Segmenter
from aisle.text import Analyzer

Source = Literal["typed", "spelling", "model"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One reading of a query and what the catalogue says of it."""

    source: Source
    query: str
    unknown: int
    """Words that no product holds."""
    titles: int | None = None
    """Titles that hold every word; none where nothing counted them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is searched for one request."""

    said: Rewrite
    """What the model made of the query; unchanged where none was asked."""
    spelled: Spelling
    searched: Rewrite
    source: Source
    """Whose words are searched."""
    reason: str
    candidates: tuple[Candidate, ...] = ()
    """Every reading that was weighed, the typed one first."""

    @classmethod
    def typed(cls, query: str, reason: str) -> Choice:
        """The query as it was typed."""
        unchanged = Rewrite.unchanged(query)
        return cls(unchanged, Spelling(query), unchanged, "typed", reason)


def choose(
    said: Rewrite,
    repair: SpellingRepair | None,
    statistics: Statistics,
    analyzer: Analyzer,
    expand_below: int | None = None,
) -> Choice:
    """Weighs the readings of one query.

    Args:
        said: what the model made of it.
        repair: none where spelling repair is off.
        statistics: of the catalogue.
        analyzer: of the catalogue.
        expand_below: expansions are for queries whose words stand together in fewer titles than this: the model's own
            bound, found when it was trained (`rewriter.json`). Without one they are always searched; without spelling
            repair, which counts titles, only a bound of 0 keeps them out.
    """
    typed = said.original
    spelled = repair.repair(typed) if repair is not None else Spelling(typed)
    model = verified(said, statistics, analyzer)
    if model.expansions and expand_below is not None:
        titles = repair.titles_with(model.query) if repair is not None else 0
        if titles >= expand_below:
            model = replace(model, expansions=())

    def candidate(source: Source, query: str) -> Candidate:
        titles = None if repair is None else repair.titles_with(query)
        return Candidate(source, query, unknown_terms(query, statistics, analyzer), titles)

    readings = [candidate("typed", typed)]
    if spelled.repairs:
        readings.append(candidate("spelling", spelled.query))
    if model.query != typed:
        readings.append(candidate("model", model.query))
    best = min(readings, key=_rank)
    if best.source == "typed":
        reason = "every word is known" if best.unknown == 0 else "no clear reading of a word"
        return Choice(said, spelled, model, "typed", reason, tuple(readings))
    same_terms = analyzer.terms(best.query) == analyzer.terms(model.query)
    if best.source == "model" or same_terms:
        searched = Rewrite(typed, best.query, model.expansions, model.segments)
    else:  # the model's expansions and segments speak of another reading
        searched = Rewrite(typed, best.query)
    reason = _reason(best, readings, agreed=same_terms and best.source == "spelling")
    return Choice(said, spelled, searched, best.source, reason, tuple(readings))


def segmented(choice: Choice, segmenter: Segmenter | None) -> Choice:
    """The choice with its query's segments by the segmenter where there is one: it was trained on real queries."""
    if segmenter is None:
        return choice
    segments = segmenter.segment(choice.searched.query)
    return replace(choice, searched=replace(choice.searched, segments=segments))


def _rank(candidate: Candidate) -> tuple[int, int, int]:
    """Best first; a reading that changes nothing for the better is not taken."""
    if candidate.source == "typed":
        return candidate.unknown, 0, 0
    order = 1 if candidate.source == "spelling" else 2
    return candidate.unknown, -(candidate.titles or 0), order


def _reason(best: Candidate, readings: list[Candidate], *, agreed: bool) -> str:
    typed = readings[0]
    why = f"{best.unknown} words that no product holds instead of {typed.unknown}"
    if agreed:
        return f"{why}; spelling and model agree"
    if len(readings) < 3:
        return why
    other = next(each for each in readings[1:] if each.source != best.source)
    return (
        f"{why}; the other reading, {other.query!r}, has {other.unknown} and stands in {other.titles or 0} titles, "
        f"this one in {best.titles or 0}"
    )
