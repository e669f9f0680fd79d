import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.errors import JudgmentError
from aisle.evaluation.run import Run


def test_rows_in_any_order_are_ranked_by_rank():
    run = Run.from_columns(["b", "a", "b", "a"], ["1", "2", "3", "4"], np.array([2, 1, 1, 2]))
    assert list(run.of("a")) == ["2", "4"]
    assert list(run.of("b")) == ["3", "1"]
    assert run.kept.all()


def test_a_query_that_was_not_asked_has_an_empty_page():
    assert list(Run.from_lists({"a": ["1"], "b": []}).of("c")) == []
    assert list(Run.from_lists({}).of("c")) == []


def test_the_first_of_two_spellings_of_a_query_counts():
    run = Run.from_lists({"HP laptop": ["1", "2"], "hp  laptop": ["2", "3"]})
    assert list(run.of("hp laptop")) == ["1", "2"]


def test_a_product_listed_twice_is_refused():
    with pytest.raises(JudgmentError, match="query 'a' lists a product twice"):
        Run.from_lists({"a": ["1", "2", "1"]})


def test_batch_search_output_is_read_with_its_kept_column(tmp_path):
    path = tmp_path / "run.parquet"
    columns = {
        "query": ["a", "a"],
        "rank": [2, 1],
        "product_id": ["x", "y"],
        "score": [0.5, 0.9],
        "relevance": [0.1, 0.8],
        "kept": [False, True],
    }
    pq.write_table(pa.table(columns), path)
    run = Run.read(str(path))
    assert list(run.of("a")) == ["y", "x"]
    assert run.kept.tolist() == [True, False]
    pq.write_table(pa.table({"query": ["a"]}), path)
    with pytest.raises(JudgmentError, match="lacks the columns rank, product_id"):
        Run.read(str(path))
