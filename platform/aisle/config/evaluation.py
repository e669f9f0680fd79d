"""Sections of evaluation: where judgments lie, how a file of another shape maps onto them, and what is measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aisle.config.sections import Section, Where


class QueriesConfig(Section):
    """A file that says which text a query's id stands for."""

    url: str
    """Parquet or CSV, any fsspec URL."""
    query_id: str = "query_id"
    """Its column of ids, equal to those in the judgments' column `query`."""
    query: str = "query"
    """Its column of texts."""


class JudgmentsConfig(Section):
    """Judgments that are not one Parquet file with the columns `query, product_id, grade`."""

    url: str
    """Parquet or CSV (.csv, .tsv), any fsspec URL."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Between the fields of a CSV line, of `queries` too; none: a tab in .tsv, else a comma."""
    where: Where = Field(default_factory=dict)
    """Only rows with these values are read, such as `{product_locale: us, small_version: 1}`."""
    query: str = "query"
    """Column with the query's text, or with its id where `queries` says what it stands for."""
    product_id: str = "product_id"
    """Column with the product's id, as the catalogue's."""
    grade: str = "grade"
    """Column with the grade, or with a label that `labels` turns into one."""
    labels: dict[str, float] = Field(default_factory=dict)
    """Label -> grade, such as `{Exact: 2, Partial: 1, Irrelevant: 0}`; a label that is not here is an error."""
    split: str = "split"
    """Column with train, dev or test, where there is one."""
    queries: QueriesConfig | None = None
    """Joined by the query's id; a judged query without a text is an error."""
    split_fractions: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    """Where the file has no split: `{train: 0.6, dev: 0.2, test: 0.2}`, by a hash of the query."""
    dev_fraction: float | None = Field(None, gt=0, lt=1)
    """Where the file has train and test alone: this share of the train queries becomes dev, by a hash of the query."""


class EvaluationConfig(Section):
    """Which judgments measure a snapshot."""

    judgments: str | JudgmentsConfig | None = None
    """Parquet with `query, product_id, grade` and, if there, `split`, or a section that maps another file onto these;
    none skips the evaluation and says so."""
    relevant_from: float = 2
    """Lowest grade that counts as relevant."""
    lowest_grade: float | None = None
    """Grade with gain 0; none takes the set's lowest."""
    gains: dict[float, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """Grade -> gain in nDCG where a set defines its own (ESCI: 1, .1, .01, 0); a grade between two takes the value
    between. Empty is 2^(grade - lowest) - 1."""
    split: str | None = "test"
    """Which split `jobs.evaluate` reports; none takes all."""
    gate_split: str | None = "dev"
    """Which split the nightly gate looks at, so that the test split stays unseen."""
    depth: int = Field(200, ge=10, le=10_000)
    """Retrieval is measured down to this rank."""
