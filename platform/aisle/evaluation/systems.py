"""Systems: the pipeline with its stages switched on one after another, to see what each is worth."""

from __future__ import annotations

from dataclasses import dataclass

from aisle.config import Settings


@dataclass(frozen=True)
class System:
    """Which stages a measured system has."""

    name: str
    dense: bool = True
    lexical: bool = True
    rewrite: bool = False
    rank: bool = False
    cut: bool = False
    """The relevance filter drops hits; it comes with the ranker, whose score it reads."""

    def settings(self, settings: Settings) -> Settings:
        """The environment with this system's sides on."""
        retrieval = settings.retrieval
        changed: dict[str, object] = {}
        if not self.dense:
            changed = {"dense_depth": 0, "dense_weight": 0.0}
        elif not self.lexical:
            changed = {"lexical_depth": 0, "dense_weight": 1.0}
        update: dict[str, object] = {"retrieval": retrieval.model_copy(update=changed)}
        if not self.rewrite:
            update["rewriter"] = settings.rewriter.model_copy(
                update={"mode": "off", "spelling": False}
            )
        return settings.model_copy(update=update)

    def finds_as(self, other: System) -> bool:
        """Both return the same hits in the same order, so that one search serves both."""
        mine = (self.dense, self.lexical, self.rewrite, self.rank)
        return mine == (other.dense, other.lexical, other.rewrite, other.rank)


LEXICAL = System("lexical", dense=False)
DENSE = System("dense", lexical=False)
HYBRID = System("hybrid")
REWRITE = System("+ rewrite", rewrite=True)
RANKER = System("+ ranker", rewrite=True, rank=True)
FULL = System("+ filter", rewrite=True, rank=True, cut=True)


def ladder(settings: Settings) -> list[System]:
    """The systems worth a row for an environment, each with one stage more; a stage that it has not adds none.

    The last is the pipeline as served.
    """
    rewrites = settings.rewriter.mode != "off" or settings.rewriter.spelling
    rows = [LEXICAL, DENSE, HYBRID]
    if rewrites:
        rows.append(REWRITE)
    return [
        *rows,
        System(RANKER.name, rewrite=rewrites, rank=True),
        System(FULL.name, rewrite=rewrites, rank=True, cut=True),
    ]
