"""Pictures of a relevance: does it say what happens, and what does a cut cost? Needs matplotlib (extra `train`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aisle.errors import ConfigError
from aisle.evaluation.calibration import reliability_curve


def draw(
    relevance: Mapping[str, NDArray[np.float64]], relevant: NDArray[np.bool_], folder: Path
) -> tuple[Path, Path]:
    """Writes `reliability.png` and `precision.png` of some methods over the same pairs.

    Args:
        relevance: method -> (n,) relevance of each pair, clipped to [0, 1] for the reliability.
        relevant: (n,) what people said.
        folder: made if it is not there.

    Raises ConfigError where matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ConfigError(
            "plots need matplotlib; install the extra `train`, or leave --plots out"
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    for name, values in relevance.items():
        bins = reliability_curve(values, relevant)
        axes.plot(
            [each.mean_probability for each in bins],
            [each.relevant_fraction for each in bins],
            marker=".",
            label=name,
        )
    axes.set(xlabel="relevance", ylabel="share called relevant", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7)
    reliability = folder / "reliability.png"
    figure.savefig(reliability, dpi=120)
    pyplot.close(figure)

    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    for name, values in relevance.items():
        recall, precision = precision_recall(values, relevant)
        axes.plot(recall, precision, label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7)
    path = folder / "precision.png"
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return reliability, path


def precision_recall(
    score: NDArray[np.floating], relevant: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision of every cut, one a distinct score, highest first; ties are kept or dropped together."""
    order = np.argsort(-np.asarray(score, np.float64), kind="stable")
    sorted_score = np.asarray(score, np.float64)[order]
    last = np.append(sorted_score[1:] != sorted_score[:-1], True)
    hits = np.cumsum(relevant[order])[last]
    kept = np.flatnonzero(last) + 1
    return hits / max(int(relevant.sum()), 1), hits / kept
