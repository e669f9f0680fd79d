"""Trains the ranker: LightGBM's LambdaMART on graded rows, exported to ONNX and checked equal to the original.

Grades may be fractions (the mean of several raters): the distinct grades become LightGBM's integer labels, and its
label gains are the exact exponential gains of those grades, 2^(grade - lowest) - 1, so training optimises the measure
that `aisle.evaluation` reports.

NOTE: LightGBM splits at doubles, ONNX trees at floats. A threshold that rounds up to the next feature value would send
a row to the other side, so thresholds are rounded down to float32 first; for float32 rows that changes no prediction.

Needs lightgbm and onnxmltools; serving (`aisle.rank.onnx`) needs neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aisle.errors import JudgmentError, ModelError
from aisle.rank.onnx import DESCRIPTION_FILE, FORMAT_VERSION, MODEL_FILE

ONNX_TOLERANCE = 1e-4
ONNX_OPSET = 15
MAX_ROWS_PER_QUERY = 10_000  # LightGBM refuses longer lists

Rows = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class RankerModel:
    """A trained ranker with what it was trained on."""

    booster: lgb.Booster
    feature_names: tuple[str, ...]
    grades: tuple[float, ...]
    """Distinct grades of the training and validation rows, ascending."""
    summary: Mapping[str, Any]
    """Rows, queries, rounds used, settings and ndcg@10 on the validation rows: what `ranker.json` holds."""
    sample: NDArray[np.float32] = field(repr=False)
    """float32 (m, f): training rows on which the export is checked."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (n, f) -> float32 (n,), by LightGBM itself."""
        if not len(features):
            return np.empty(0, np.float32)
        scores = self.booster.predict(np.asarray(features, np.float64), num_threads=1)
        return np.asarray(scores, np.float32)

    def importance(self) -> list[tuple[str, float, int]]:
        """(feature, share of the total gain, splits), most gain first, ties by name."""
        gain = self.booster.feature_importance("gain")
        splits = self.booster.feature_importance("split")
        share = gain / max(float(gain.sum()), 1e-12)
        rows = [
            (name, float(s), int(n))
            for name, s, n in zip(self.feature_names, share, splits, strict=True)
        ]
        return sorted(rows, key=lambda row: (-row[1], row[0]))

    def save(self, folder: str | Path, measures: Mapping[str, Any] | None = None) -> None:
        """Writes `model.onnx` and `ranker.json`, the latter last. Raises ModelError where ONNX and LightGBM differ."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = _to_onnx(self.booster, len(self.feature_names))
        difference = _largest_difference(content, self)
        if difference > ONNX_TOLERANCE:
            raise ModelError(
                f"the exported ranker differs from LightGBM by {difference:.2g}, allowed is {ONNX_TOLERANCE:g}; "
                "nothing was written, report the versions of lightgbm and onnxmltools"
            )
        (folder / MODEL_FILE).write_bytes(content)
        description = {
            "format_version": FORMAT_VERSION,
            "feature_names": list(self.feature_names),
            "grades": list(self.grades),
            "training": dict(self.summary),
            "importance": [
                {"feature": n, "gain_fraction": g, "splits": s} for n, g, s in self.importance()
            ],
            "measures": dict(measures or {}),
            "onnx_difference": difference,
        }
        (folder / DESCRIPTION_FILE).write_text(
            json.dumps(description, indent=2) + "\n", encoding="utf-8"
        )


def train_ranker(
    features: NDArray[np.float32],
    grades: NDArray[np.float64],
    query_index: NDArray[np.int64],
    feature_names: Sequence[str],
    *,
    lowest_grade: float,
    valid: Rows | None = None,
    seed: int = 0,
    rounds: int = 300,
    leaves: int = 31,
    learning_rate: float = 0.05,
    min_rows_in_leaf: int = 20,
    feature_fraction: float = 0.8,
    early_stopping_rounds: int = 30,
    monotone: Mapping[str, int] | None = None,
    threads: int = 1,
) -> RankerModel:
    """Fits LambdaMART on float32 (n, f) rows with float grades (n,) and the query of each row, int (n,), in any order.

    A candidate that nobody judged is given `lowest_grade` by the caller. With `valid` (features, grades, query_index)
    training stops when its ndcg@10 no longer rises, else it takes all `rounds`. `monotone` maps a feature to 1 (the
    score never falls with it) or -1. Equal input, seed and threads give an equal model.

    Raises JudgmentError where the rows cannot teach a ranking: fewer than two queries, one grade only, no query with
    two different grades, a grade under the lowest, a value that is not finite; ModelError on an unknown feature name.
    """
    names = tuple(feature_names)
    train = _check_rows("training", (features, grades, query_index), len(names), lowest_grade)
    checked = None
    if valid is not None:
        checked = _check_rows("validation", valid, len(names), lowest_grade)
    known = np.unique(np.concatenate([train[1], checked[1] if checked else train[1]]))
    # Label 0 is the lowest grade of the set even where no row has it: LightGBM takes label 0 for a gain of 0.
    known = np.union1d(known, [lowest_grade])
    data = _dataset(train, known, names)
    parameters = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [10],
        "label_gain": [float(g) for g in np.exp2(known - lowest_grade) - 1.0],
        "lambdarank_truncation_level": 30,
        "num_leaves": leaves,
        "learning_rate": learning_rate,
        "min_data_in_leaf": min_rows_in_leaf,
        "feature_fraction": feature_fraction,
        "feature_fraction_seed": seed,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "verbosity": -1,
    }
    if monotone:
        parameters["monotone_constraints"] = _constraints(monotone, names)
    callbacks: list[Callable[..., Any]] = []
    if checked:
        callbacks.append(lgb.early_stopping(early_stopping_rounds, verbose=False))
    booster = lgb.train(
        parameters,
        data,
        num_boost_round=rounds,
        valid_sets=[_dataset(checked, known, names, reference=data)] if checked else None,
        valid_names=["valid"] if checked else None,
        callbacks=callbacks,
    )
    used = booster.best_iteration if checked else booster.current_iteration()
    settings = {
        "rounds": rounds,
        "leaves": leaves,
        "learning_rate": learning_rate,
        "min_rows_in_leaf": min_rows_in_leaf,
        "feature_fraction": feature_fraction,
        "seed": seed,
        "monotone": dict(monotone or {}),
    }
    summary: dict[str, Any] = {
        "rows": len(train[1]),
        "queries": len(np.unique(train[2])),
        "lowest_grade": float(lowest_grade),
        "rounds_used": int(used),
        "settings": settings,
        "lightgbm": lgb.__version__,
    }
    if checked:
        summary["valid_rows"] = len(checked[1])
        summary["valid_queries"] = len(np.unique(checked[2]))
        summary["valid_ndcg@10"] = float(booster.best_score["valid"]["ndcg@10"])
    return RankerModel(
        booster=_with_float_thresholds(booster, used),
        feature_names=names,
        grades=tuple(float(g) for g in known),
        summary=summary,
        sample=np.asarray(train[0][:2000], np.float32),
    )


def _check_rows(what: str, rows: Rows, width: int, lowest_grade: float) -> Rows:
    features = np.asarray(rows[0], np.float32)
    grades = np.asarray(rows[1], np.float64)
    query_index = np.asarray(rows[2], np.int64)
    if features.ndim != 2 or features.shape[1] != width:
        raise ModelError(
            f"{what} features are {features.shape}, {width} feature names call for (n, {width})"
        )
    if not len(features) == len(grades) == len(query_index):
        raise JudgmentError(
            f"{what} rows of unequal length: {len(features)} features, {len(grades)} grades, "
            f"{len(query_index)} queries"
        )
    if not np.isfinite(features).all() or not np.isfinite(grades).all():
        bad = np.flatnonzero(~np.isfinite(features).all(axis=1) | ~np.isfinite(grades))
        raise JudgmentError(
            f"{what} row {bad[0]}: a feature or the grade is not finite ({len(bad)} such rows)"
        )
    queries, place, sizes = np.unique(query_index, return_inverse=True, return_counts=True)
    if len(queries) < 2:
        raise JudgmentError(
            f"{len(queries)} {what} queries: at least two are needed to learn a ranking"
        )
    if sizes.max() > MAX_ROWS_PER_QUERY:
        raise JudgmentError(
            f"{what} query {queries[sizes.argmax()]} has {sizes.max()} rows, at most {MAX_ROWS_PER_QUERY} "
            "are allowed; sample its candidates"
        )
    if grades.min() < lowest_grade:
        raise JudgmentError(
            f"{what} row {int(grades.argmin())}: grade {grades.min():g} lies under the lowest grade {lowest_grade:g}"
        )
    low, high = np.full(len(queries), np.inf), np.full(len(queries), -np.inf)
    np.minimum.at(low, place, grades)
    np.maximum.at(high, place, grades)
    if not (high > low).any():
        raise JudgmentError(
            f"no {what} query has two different grades, the grades are {sorted(set(grades.tolist()))[:5]}: "
            "there is nothing to rank; add judgments of worse products"
        )
    order = np.argsort(query_index, kind="stable")
    return features[order], grades[order], query_index[order]


def _dataset(
    rows: Rows, known: NDArray[np.float64], names: tuple[str, ...], reference: Any = None
) -> lgb.Dataset:
    features, grades, query_index = rows
    _, sizes = np.unique(query_index, return_counts=True)
    # LightGBM accepts no feature name with JSON's special characters; columns go by position.
    return lgb.Dataset(
        features,
        label=np.searchsorted(known, grades),
        group=sizes,
        reference=reference,
        feature_name=[f"f{i}" for i in range(len(names))],
        free_raw_data=True,
    )


def _constraints(monotone: Mapping[str, int], names: tuple[str, ...]) -> list[int]:
    for name, sign in monotone.items():
        if name not in names:
            raise ModelError(
                f"monotone names the feature {name!r}; the columns are {', '.join(names)}"
            )
        if sign not in (-1, 0, 1):
            raise ModelError(f"monotone[{name!r}] is {sign}, expected 1, 0 or -1")
    return [monotone.get(name, 0) for name in names]


def _with_float_thresholds(booster: lgb.Booster, rounds: int) -> lgb.Booster:
    """Rounds every split threshold down to a float32; x <= t keeps its truth for every float32 x."""

    def rounded(match: re.Match[str]) -> str:
        values = np.array(match.group(1).split(), np.float64)
        near = values.astype(np.float32)
        down = np.where(
            near.astype(np.float64) > values, np.nextafter(near, np.float32(-np.inf)), near
        )
        return "threshold=" + " ".join(repr(float(v)) for v in down)

    text = booster.model_to_string(num_iteration=rounds)
    # tree_sizes counts bytes of each tree's text, which just changed; without it LightGBM parses tree by tree.
    text = re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)
    return lgb.Booster(
        model_str=re.sub(r"^threshold=(.+)$", rounded, text, flags=re.MULTILINE),
    )


def _to_onnx(booster: lgb.Booster, width: int) -> bytes:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = onnxmltools.convert_lightgbm(
        booster,
        name="ranker",  # else a random name, and equal models would differ in their bytes
        initial_types=[("features", FloatTensorType([None, width]))],
        target_opset=ONNX_OPSET,
        zipmap=False,
    )
    return bytes(model.SerializeToString(deterministic=True))


def _largest_difference(content: bytes, model: RankerModel) -> float:
    """Largest difference on training rows and on random rows of their range, relative where scores exceed 1."""
    rows = model.sample
    rng = np.random.default_rng(0)
    low, high = rows.min(axis=0), rows.max(axis=0)
    noise = rng.uniform(low - 0.1, high + 0.1, (500, rows.shape[1])).astype(np.float32)
    rows = np.concatenate([rows, noise])
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    exported = np.asarray(session.run(None, {"features": rows})[0], np.float64).reshape(-1)
    original = model.booster.predict(rows.astype(np.float64), num_threads=1)
    return float(np.max(np.abs(exported - original) / np.maximum(1.0, np.abs(original))))
