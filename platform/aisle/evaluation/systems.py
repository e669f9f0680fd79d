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
            update["rewriter"] = settings.rewriter.model_copy(update={"mode": "off"})
        return settings.model_copy(update=update)


LEXICAL = System("bm25", dense=False)
DENSE = System("dense", lexical=False)
HYBRID = System("hybrid")
REWRITE = System("+ rewrite", rewrite=True)
FULL = System("+ rank and filter", rewrite=True, rank=True)


def ladder(settings: Settings) -> list[System]:
    """The systems worth a row for an environment; a stage that it does not have adds none."""
    rows = [LEXICAL, DENSE, HYBRID]
    rewrites = settings.rewriter.mode != "off"
    if rewrites:
        rows.append(REWRITE)
    rows.append(FULL if rewrites else System("+ rank and filter", rank=True))
    return rows
