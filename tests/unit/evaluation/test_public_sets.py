"""ESCI and WANDS, read as they are published: small files of that shape, through the shipped configs, to measures."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.config import Settings, load
from aisle.errors import CatalogError, JudgmentError
from aisle.evaluation import Run, ndcg
from aisle.evaluation.source import open_judgments
from tests.shop import open_pipeline, run_night

CONFIGS = Path(__file__).parents[3] / "configs" / "benchmarks"
SMALL = ["encoder.runtime=hashing", "encoder.dimension=64", "index.dense.kind=flat"]


@pytest.fixture
def esci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three US products, one of which is in the Japanese catalogue too, and queries in both splits."""
    products: list[tuple[str, str, str, str | None, str | None, str | None]] = [
        ("B1", "us", "Steel water bottle", "Keeps cold. <b>Leak proof</b>", "Hydra", "Blue"),
        ("B2", "us", "Plastic water bottle", None, None, None),
        ("B3", "us", "Bottle brush", "For narrow necks", "Hydra", None),
        ("B1", "jp", "Suitou", None, None, None),
        ("B9", "jp", "Burashi", None, None, None),
    ]
    keys = ("product_id", "product_locale", "product_title", "product_description")
    pq.write_table(
        pa.table(
            {
                **{key: [row[i] for row in products] for i, key in enumerate(keys)},
                "product_bullet_point": ["18/8 steel"] + [None] * 4,
                "product_brand": [row[4] for row in products],
                "product_color": [row[5] for row in products],
            }
        ),
        tmp_path / "shopping_queries_dataset_products.parquet",
    )
    examples: list[dict[str, Any]] = []

    def judge(query: str, product: str, label: str, split: str, locale: str = "us", small: int = 1):
        examples.append(
            {
                "example_id": len(examples),
                "query": query,
                "query_id": len({each["query"] for each in examples} | {query}),
                "product_id": product,
                "product_locale": locale,
                "esci_label": label,
                "small_version": small,
                "large_version": 1,
                "split": split,
            }
        )

    judge("steel water bottle", "B1", "E", "test")
    judge("steel water bottle", "B2", "S", "test")
    judge("steel water bottle", "B3", "C", "test")
    judge("bottle brush", "B3", "E", "test")
    judge("bottle brush", "B1", "I", "test")
    judge("suitou", "B1", "E", "test", locale="jp")
    judge("only in the large version", "B2", "E", "test", small=0)
    for i in range(40):
        judge(f"bottle {i}", "B2", "E", "train")
    pq.write_table(
        pa.Table.from_pylist(examples), tmp_path / "shopping_queries_dataset_examples.parquet"
    )
    monkeypatch.setenv("ESCI_DATA", str(tmp_path))
    monkeypatch.setenv("AISLE_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def wands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two products, of which the first has a quoted field, and 30 queries, tab-separated under the name .csv."""
    tables: dict[str, list[list[str]]] = {
        "product.csv": [
            [
                *("product_id", "product_name", "product_class", "category hierarchy"),
                *("product_description", "product_features"),
                *("rating_count", "average_rating", "review_count"),
            ],
            [
                *("0", "solid wood platform bed", "Beds", "Furniture / Bedroom Furniture / Beds"),
                *(
                    '12" legs',
                    "overallwidth-sidetoside:64.7|dsprimaryproductstyle : modern|nothing",
                ),
                *("15.0", "4.5", "15.0"),
            ],
            ["1", "all-clad slow cooker", "Slow Cookers", "Kitchen", "", "", "", "", ""],
        ],
        "query.csv": [["query_id", "query", "query_class"]]
        + [[str(i), f"platform bed {i}", "Beds"] for i in range(30)],
        "label.csv": [["id", "query_id", "product_id", "label"]]
        + [[str(2 * i), str(i), "0", "Exact" if i % 2 else "Partial"] for i in range(30)]
        + [[str(2 * i + 1), str(i), "1", "Irrelevant"] for i in range(30)],
    }
    for name, rows in tables.items():
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
    monkeypatch.setenv("WANDS_DATA", str(tmp_path))
    monkeypatch.setenv("AISLE_HOME", str(tmp_path / "home"))
    return tmp_path


def settings_of(name: str) -> Settings:
    return load(CONFIGS / f"{name}.yaml", SMALL)


def products_of(settings: Settings) -> list[dict[str, Any]]:
    """The live snapshot's products, by id."""
    store = Path(settings.store)
    files = sorted(store.glob("snapshots/*/products/**/*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return sorted(rows, key=lambda row: str(row["product_id"]))


def test_esci_is_indexed_in_one_locale_with_every_field(esci: Path) -> None:
    settings = settings_of("esci")
    counts = run_night(settings)["counts"]
    assert (counts["products"], counts["quarantined"]) == (3, 0)
    first = products_of(settings)[0]
    assert first["title"] == "Steel water bottle"
    assert first["description"] == "18/8 steel Keeps cold. Leak proof"
    assert first["brand"] == "Hydra"
    assert dict(first["attributes"]) == {"color": ["Blue"]}
    assert open_pipeline(settings).snapshot.statistics.products == 3


def test_esci_is_judged_in_one_locale_and_version_with_the_published_gains(esci: Path) -> None:
    judgments = open_judgments(settings_of("esci").evaluation)
    test = judgments.split("test")
    assert test.queries == ("steel water bottle", "bottle brush")
    assert test.grades.tolist() == [3, 2, 1, 0, 3]
    assert test.gain(test.grades).tolist() == [1, 0.1, 0.01, 0, 1]
    ranked = Run.from_lists({"steel water bottle": ["B2", "B1", "B3"], "bottle brush": ["B3"]})
    ideal = 1 + 0.1 / math.log2(3) + 0.01 / 2
    found = 0.1 + 1 / math.log2(3) + 0.01 / 2
    assert ndcg(test, ranked, 10).tolist() == [pytest.approx(found / ideal), 1.0]
    dev = judgments.split("dev")
    assert 0 < len(dev.queries) < len(judgments.split("train").queries)


def test_a_gain_between_two_grades_is_the_value_between(esci: Path) -> None:
    judgments = open_judgments(settings_of("esci").evaluation)
    import numpy as np

    assert judgments.gain(np.array([2.5, 0.5, np.nan])).tolist() == [
        pytest.approx(0.55),
        pytest.approx(0.005),
        0.0,
    ]


def test_wands_is_indexed_from_tab_separated_files(wands: Path) -> None:
    settings = settings_of("wands")
    counts = run_night(settings)["counts"]
    assert (counts["products"], counts["quarantined"]) == (2, 0)
    bed = products_of(settings)[0]
    assert bed["category"] == ["Furniture", "Bedroom Furniture", "Beds"]
    assert bed["description"] == '12" legs'
    assert dict(bed["attributes"]) == {
        "overallwidth-sidetoside": ["64.7"],
        "dsprimaryproductstyle": ["modern"],
    }


def test_wands_judgments_join_queries_map_labels_and_are_split_by_hash(wands: Path) -> None:
    judgments = open_judgments(settings_of("wands").evaluation)
    assert judgments.queries[:2] == ("platform bed 0", "platform bed 1")
    assert judgments.grades[:4].tolist() == [1, 0, 2, 0]
    assert judgments.splits is not None
    assert set(judgments.splits) == {"train", "dev", "test"}
    assert judgments.gain(judgments.grades[:4]).tolist() == [1, 0, 3, 0]


WRONG: dict[str, tuple[list[str], str]] = {
    "a label without a grade": (
        ["evaluation.judgments.labels={Exact: 2, Partial: 1}"],
        "label 'Irrelevant' has no grade",
    ),
    "a query without a text": (
        ["evaluation.judgments.queries.query_id=query_class"],
        "30 judged queries are not in .*id '0'",
    ),
    "labels without a mapping": (
        ["evaluation.judgments.labels={}"],
        "texts that are no numbers .*evaluation.judgments.labels",
    ),
    "a missing column": (["evaluation.judgments.grade=grade"], "lacks the columns grade; it has"),
    "no row left": (["evaluation.judgments.where={label: None}"], "none of 60 rows has"),
    "gains that fall": (
        ["evaluation.gains={0: 1, 1: 0.5, 2: 0.1}"],
        "do not rise with the grade",
    ),
    "a grade without a gain": (["evaluation.gains={0: 0, 1: 1}"], "give every grade a gain"),
    "dev twice": (["evaluation.judgments.dev_fraction=0.1"], "has a split dev already"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(wands: Path, name: str) -> None:
    overrides, message = WRONG[name]
    settings = load(CONFIGS / "wands.yaml", [*SMALL, *overrides])
    with pytest.raises(JudgmentError, match=message):
        open_judgments(settings.evaluation)


def test_a_filter_on_a_column_that_is_not_there_is_named(esci: Path) -> None:
    settings = load(CONFIGS / "esci.yaml", [*SMALL, "catalog.source.where={locale: us}"])
    with pytest.raises(CatalogError, match="no column 'locale', which catalog.source.where names"):
        run_night(settings)
