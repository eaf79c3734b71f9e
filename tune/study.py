"""What Optuna is for: distributions to draw from, and how much each searched value decides the score."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.samplers import BaseSampler, TPESampler

from tune.space import Range, Space
from tune.trials import TrialRow

FIRST_AT_RANDOM = 8
"""Trials before the search learns from scores."""
FEWEST = 6
"""Trials with a score from which on importances are told."""


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """What Optuna draws from: the open ranges of a space."""
    return {name: _distribution(each) for name, each in space.items() if each.is_open}


def sampler(seed: int) -> BaseSampler:
    """Tree-structured Parzen estimators (Bergstra et al. 2011), the first few trials at random."""
    return TPESampler(seed=seed, n_startup_trials=FIRST_AT_RANDOM)


def importances(rows: Sequence[TrialRow], space: Space, *, seed: int = 0) -> dict[str, tuple[float, float]]:
    """For each searched value, largest first: its share in the variance of the early score, and its rank correlation with it.

    Shares by functional ANOVA of a random forest (Hutter et al. 2014), summing to 1; the correlation is Spearman's. Empty when
    there are too few trials with a score, or all have the same.
    """
    known = distributions(space)
    scored = [row for row in rows if not math.isnan(row.ap_early)]
    if len(scored) < FEWEST or len({row.ap_early for row in scored}) == 1:
        return {}
    level = logging.getLogger("optuna").level
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize")
        for row in scored:
            drawn = {name: row.values[name] for name in known}
            study.add_trial(optuna.trial.create_trial(params=drawn, distributions=known, value=row.ap_early))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    finally:
        optuna.logging.set_verbosity(level)
    early = [row.ap_early for row in scored]
    return {name: (share, rank_correlation([row.values[name] for row in scored], early)) for name, share in shares.items()}


def _distribution(each: Range) -> BaseDistribution:
    if each.kind == "whole":
        return IntDistribution(int(each.low), int(each.high))
    return FloatDistribution(each.low, each.high, log=each.kind == "log")


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's correlation: Pearson's of the ranks, equal values sharing their mean rank; NaN when all of one are equal."""
    if len(set(one)) == 1 or len(set(other)) == 1:
        return math.nan
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, place, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    mean_ranks: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return mean_ranks[place]
