"""How well scores tell manipulated pictures from untouched ones: the measures of detection, computed by scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve


def average_precision(scores_N: ArrayLike, manipulated_N: ArrayLike) -> float:
    """AP = sum over thresholds of (recall_t - recall_t-1) precision_t, from 0 to 1; higher scores mean manipulated.

    Raises ValueError for scores that are not finite, or when only one of both kinds is there; so do the other measures.
    """
    scores, truth = _check(scores_N, manipulated_N)
    return float(average_precision_score(truth, scores))


def roc_auc(scores_N: ArrayLike, manipulated_N: ArrayLike) -> float:
    """The probability that a manipulated picture scores higher than an untouched one, ties counting half; 0 to 1."""
    scores, truth = _check(scores_N, manipulated_N)
    return float(roc_auc_score(truth, scores))


def tpr_at_fpr(scores_N: ArrayLike, manipulated_N: ArrayLike, *, false_positive_rate: float) -> float:
    """The largest share of manipulated pictures above a threshold that at most this share of untouched ones exceeds."""
    scores, truth = _check(scores_N, manipulated_N)
    wrong, right, _ = roc_curve(truth, scores, drop_intermediate=False)
    return float(right[wrong <= false_positive_rate].max())


def _check(scores_N: ArrayLike, manipulated_N: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    scores, truth = np.asarray(scores_N, dtype=np.float64), np.asarray(manipulated_N, dtype=bool)
    if scores.shape != truth.shape or scores.ndim != 1:
        raise ValueError(f"expected as many scores as labels, each in one row, got shapes {scores.shape} and {truth.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("expected finite scores")
    if truth.all() or not truth.any():
        raise ValueError("expected scores of both kinds, manipulated and untouched")
    return scores, truth
