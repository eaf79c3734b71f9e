"""The measures of detection on cases that can be counted by hand, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.signals.measures import average_precision, roc_auc, tpr_at_fpr

# from the highest score down: right, wrong, right, right, wrong, wrong
SCORES = [0.9, 0.8, 0.7, 0.6, 0.2, 0.1]
TRUTH = [True, False, True, True, False, False]
both_kinds = st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=2, max_size=30).filter(
    lambda pairs: len({truth for _, truth in pairs}) == 2
)


def test_average_precision_is_the_mean_precision_at_each_picture_found() -> None:
    assert average_precision(SCORES, TRUTH) == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)


def test_roc_auc_is_the_share_of_pairs_in_the_right_order_ties_counting_half() -> None:
    assert roc_auc(SCORES, TRUTH) == pytest.approx((3 + 2 + 2) / 9)
    assert roc_auc([0.5, 0.5], [True, False]) == 0.5


@pytest.mark.parametrize(("rate", "found"), [(0, 1 / 3), (0.3, 1 / 3), (1 / 3, 1), (1, 1)])
def test_tpr_at_fpr_takes_the_best_threshold_that_is_allowed(rate: float, found: float) -> None:
    assert tpr_at_fpr(SCORES, TRUTH, false_positive_rate=rate) == pytest.approx(found)


def test_scores_that_separate_the_kinds_are_perfect_and_the_same_score_for_all_is_chance() -> None:
    for measure in (average_precision, roc_auc):
        assert measure([3, 2, 1, 0], [True, True, False, False]) == 1
    assert average_precision([1, 1, 1, 1], [True, False, False, False]) == 0.25
    assert roc_auc([1, 1, 1, 1], [True, False, False, False]) == 0.5
    assert tpr_at_fpr([1, 1], [True, False], false_positive_rate=0.99) == 0


@settings(max_examples=30)
@given(both_kinds)
def test_roc_auc_is_what_counting_all_pairs_gives(pairs: list[tuple[int, bool]]) -> None:
    manipulated, untouched = ([score for score, truth in pairs if truth is kind] for kind in (True, False))
    counted = np.mean([(m > u) + 0.5 * (m == u) for m in manipulated for u in untouched])
    assert roc_auc(*zip(*pairs, strict=True)) == pytest.approx(counted)


@settings(max_examples=30)
@given(both_kinds, st.integers(1, 5), st.integers(-9, 9))
def test_only_the_order_of_scores_counts(pairs: list[tuple[int, bool]], steeper: int, shift: int) -> None:
    scores, truth = zip(*pairs, strict=True)
    changed = [steeper * score + shift for score in scores]
    for measure in (average_precision, roc_auc):
        assert measure(changed, truth) == measure(scores, truth)


@pytest.mark.parametrize(
    ("scores", "truth", "said"),
    [
        ([0.1, float("nan")], [True, False], "finite"),
        ([0.1, 0.2], [True, True], "both kinds"),
        ([0.1, 0.2], [False, False], "both kinds"),
        ([0.1, 0.2, 0.3], [True, False], "as many scores as labels"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores: list[float], truth: list[bool], said: str) -> None:
    for measure in (average_precision, roc_auc):
        with pytest.raises(ValueError, match=said):
            measure(scores, truth)
    with pytest.raises(ValueError, match=said):
        tpr_at_fpr(scores, truth, false_positive_rate=0.01)
