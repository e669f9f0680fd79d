from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.errors import JudgmentError
from aisle.evaluation.judgments import Judgments, normalize_query


def build(rows, **options):
    query, product, grade = (list(column) for column in zip(*rows, strict=True))
    return Judgments.from_columns(query, product, grade, **{"relevant_from": 2.0, **options})


def write(path, **columns):
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_queries_match_after_lower_casing_and_collapsing_white_space():
    assert normalize_query(" HP\t Laptop\n") == "hp laptop"
    judged = build([("HP  Laptop", "a", 1), ("hp laptop ", "b", 2), ("mouse", "c", 1)])
    assert judged.queries == ("hp laptop", "mouse")
    assert judged.texts == ("HP  Laptop", "mouse")


def test_rows_are_sorted_by_query_then_product_id():
    judged = build([("b", "2", 3), ("a", "9", 1), ("b", "1", 2), ("b", "10", 1)])
    listed = [(query, list(products), list(grades)) for query, products, grades in judged]
    assert listed == [("b", ["1", "10", "2"], [2, 1, 3]), ("a", ["9"], [1])]
    assert judged.query_index.tolist() == [0, 0, 0, 1]
    assert judged.relevant.tolist() == [True, False, True, False]


def test_contradictory_grades_become_their_mean_and_are_counted():
    judged = build([("q", "a", 1), ("Q", "a", 2), ("q", "b", 3), ("q", "b", 3)])
    assert judged.grades.tolist() == [1.5, 3.0]
    counts = judged.counts
    assert (counts.rows, counts.pairs) == (4, 2)
    assert (counts.repeated_pairs, counts.contradictory_pairs) == (2, 1)


def test_repeated_equal_grades_keep_their_exact_value():
    judged = build([("q", "a", 2.33)] * 3 + [("q", "b", 1.0)])
    assert judged.grades.tolist() == [2.33, 1.0]  # 3 * 2.33 / 3 differs in its last bit
    assert judged.counts.contradictory_pairs == 0


def test_lowest_grade_belongs_to_the_whole_set_also_in_a_split():
    rows = [("a", "1", 1), ("a", "2", 3), ("b", "1", 2), ("b", "2", 3)]
    judged = build(rows, split=["train", "train", "test", "test"])
    test = judged.split("test")
    assert test.queries == ("b",)
    assert test.grades.min() == 2
    assert test.lowest_grade == 1


def test_queries_whose_grades_are_all_lowest_are_set_aside_and_counted():
    judged = build([("a", "1", 1), ("a", "2", 3), ("b", "1", 1), ("c", "1", 2)]).measurable()
    assert judged.queries == ("a", "c")
    assert judged.offsets.tolist() == [0, 2, 3]
    assert judged.counts.all_lowest_queries == 1


def test_one_grade_judgments_measure_nothing_and_say_so():
    with pytest.raises(JudgmentError, match="every grade of 2 queries is the lowest"):
        build([("a", "1", 3), ("b", "1", 3)]).measurable()


def test_unknown_products_are_set_aside_and_counted():
    judged = build([("a", "1", 1), ("a", "x", 3), ("b", "x", 2), ("b", "y", 2)])
    known = judged.known_in(["1", "y"])
    assert known.queries == ("a", "b")
    assert list(known.product_ids) == ["1", "y"]
    assert (known.counts.unknown_products, known.counts.unknown_pairs) == (1, 2)


def test_a_query_without_known_products_goes():
    judged = build([("a", "1", 1), ("b", "x", 2), ("c", "2", 2)]).known_in({"1", "2"})
    assert judged.queries == ("a", "c")
    assert judged.offsets.tolist() == [0, 1, 2]


def test_judgments_of_another_catalogue_are_refused():
    with pytest.raises(JudgmentError, match="none of the 1 judged products .* 'x'"):
        build([("b", "x", 2)]).known_in({"1"})


def test_a_split_by_hash_is_stable_when_queries_are_added():
    rows = [(f"query {i}", "1", i % 3) for i in range(200)]
    fractions = {"train": 0.6, "dev": 0.2, "test": 0.2}
    small = build(rows[:100]).with_split(fractions, seed=3)
    large = build(rows).with_split(fractions, seed=3)
    assert large.splits[:100] == small.splits
    assert 0.5 < large.splits.count("train") / 200 < 0.7
    assert large.split("dev").splits == ("dev",) * large.splits.count("dev")


def test_a_set_too_small_to_split_is_refused():
    with pytest.raises(JudgmentError, match="1 queries are too few to split"):
        build([("a", "1", 2)]).with_split({"train": 0.5, "test": 0.5})


def test_a_query_spelt_differently_in_two_splits_stays_in_the_one_held_back():
    rows = [("Fence  mesh", "1", 1), ("fence mesh", "2", 3), ("fence mesh", "1", 2), ("b", "1", 3)]
    judged = build(rows, split=["train", "test", "test", "train"])
    assert judged.counts.queries_in_two_splits == 1
    assert judged.split("train").queries == ("b",)
    test = judged.split("test")
    assert test.grades.tolist() == [2, 3]  # the grade that the training row gave is not averaged in
    assert test.counts.rows == 4


def test_an_unknown_split_names_the_known_ones():
    judged = build([("a", "1", 2), ("b", "1", 2)], split=["train", "dev"])
    with pytest.raises(JudgmentError, match="'test'.*dev, train"):
        judged.split("test")
    with pytest.raises(JudgmentError, match="have no split"):
        build([("a", "1", 2)]).split("test")


BAD_ROWS: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "no row": ([], {}, "no row"),
    "a missing grade": ([("a", "1", float("nan"))], {}, "row 0: grade is nan"),
    "an empty query": ([("a", "1", 1), (" ", "1", 1)], {}, "row 1: query is ' '"),
    "a missing product": ([("a", None, 1)], {}, "row 0: product_id is None"),
    "a grade under the lowest": ([("a", "1", 1)], {"lowest_grade": 2}, "row 0: grade 1 lies under"),
    "a missing split": ([("a", "1", 1)], {"split": [None]}, "row 0: split is None"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_bad_rows_are_named(name):
    rows, options, message = BAD_ROWS[name]
    query, product, grade = zip(*rows, strict=True) if rows else ((), (), ())
    with pytest.raises(JudgmentError, match=message):
        Judgments.from_columns(query, product, grade, relevant_from=1.0, **options)


def test_parquet_is_read_with_integer_product_ids_and_split(tmp_path):
    url = write(
        tmp_path / "j.parquet",
        query=["a", "a", "b"],
        product_id=[7, 5, 5],
        grade=[0, 3, 2],
        split=["train", "train", "test"],
        extra=[1, 2, 3],
    )
    judged = Judgments.read(url, relevant_from=2)
    assert list(judged.product_ids) == ["5", "7", "5"]
    assert judged.split("train").grades.tolist() == [3, 0]


def test_parquet_is_read_from_any_fsspec_url():
    import fsspec

    with fsspec.open("memory://judgments/j.parquet", "wb") as file:
        pq.write_table(pa.table({"query": ["a"], "product_id": ["1"], "grade": [2.5]}), file)
    judged = Judgments.read("memory://judgments/j.parquet", relevant_from=2, lowest_grade=0)
    np.testing.assert_array_equal(judged.grades, [2.5])
    assert judged.lowest_grade == 0


def test_unreadable_parquet_is_a_clear_error(tmp_path):
    with pytest.raises(JudgmentError, match=r"absent\.parquet: no such file"):
        Judgments.read(str(tmp_path / "absent.parquet"), relevant_from=1)
    (tmp_path / "text.parquet").write_text("query,grade")
    with pytest.raises(JudgmentError, match=r"text\.parquet: cannot be read as Parquet"):
        Judgments.read(str(tmp_path / "text.parquet"), relevant_from=1)
    url = write(tmp_path / "lacking.parquet", query=["a"], score=[1])
    with pytest.raises(
        JudgmentError, match="lacks the columns product_id, grade; it has query, score"
    ):
        Judgments.read(url, relevant_from=1)
    url = write(tmp_path / "labels.parquet", query=["a"], product_id=["1"], grade=["Exact"])
    with pytest.raises(JudgmentError, match=r"labels\.parquet: column grade is string"):
        Judgments.read(url, relevant_from=1)
    url = write(
        tmp_path / "null.parquet", query=["a"], product_id=["1"], grade=pa.array([None], "f8")
    )
    with pytest.raises(JudgmentError, match=r"null\.parquet: row 0: grade is nan"):
        Judgments.read(url, relevant_from=1)


MIXED: dict[str, Any] = {
    "query": ["a", "a", "a", "b"],
    "product_id": ["1", "2", "2", "3"],
    "grade": [3.0, 1.0, 3.0, 2.0],
    "judged_by": ["people", None, "cross-encoder:f", "cross-encoder:f"],
}


def test_grades_by_a_model_are_refused_unless_asked_for(tmp_path):
    url = write(tmp_path / "mixed.parquet", **MIXED)
    with pytest.raises(JudgmentError, match="2 of 4 grades are by cross-encoder:f, not by people"):
        Judgments.read(url, relevant_from=2)


def test_a_persons_grade_overrules_a_models_and_the_two_stay_apart(tmp_path):
    url = write(tmp_path / "mixed.parquet", **MIXED)
    both = Judgments.read(url, relevant_from=2, accept_judges=True)
    assert both.grades.tolist() == [3, 1, 2]  # not the mean of 1 and 3
    assert both.model_graded is not None
    assert both.model_graded.tolist() == [False, False, True]
    people = both.by_people()
    assert (people.queries, people.grades.tolist()) == (("a",), [3, 1])
    assert people.model_graded is None


def test_judgments_by_a_model_alone_are_no_judgments_by_people(tmp_path):
    rows = {name: column[3:] for name, column in MIXED.items()}
    url = write(tmp_path / "model.parquet", **rows)
    with pytest.raises(JudgmentError, match="a model gave all 1 grades"):
        Judgments.read(url, relevant_from=2, accept_judges=True).by_people()
