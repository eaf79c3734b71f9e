"""The detector of a bundle as it is asked about pictures, and the scores from which thresholds come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import GREY, Bundle, read_bundle
from pipeline.signals.detector import Detector
from pipeline.signals.judge import FIT_WEIGHT, HONEST, Judge, calibration_scores
from pipeline.signals.judgement import Judgement
from pipeline.signals.search import Search
from pipeline.signals.signal_set import grey_signals, mixed_signals, phases_of
from tests.fast.signals.bundles import SIZE, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return read_bundle(tiny_bundle(tmp_path_factory.mktemp("bundle")))


def pictures(*sizes: tuple[int, int], planes: int = 3) -> list[U8]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, planes), dtype=np.uint8) for size in sizes]


def detector_of(bundle: Bundle) -> Detector:
    net = Detector(size=bundle.size, width=bundle.width)
    net.load_state_dict({name: torch.from_numpy(array) for name, array in bundle.detector_weights().items()})
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("offsets", [None, (0.4, 2.5)])
def test_a_picture_at_the_detectors_own_size_is_judged_as_the_net_and_numpy_say(
    bundle: Bundle, offsets: tuple[float, ...] | None
) -> None:
    (pixels,) = pictures((SIZE, SIZE))
    x_1CHW = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    net = detector_of(bundle)
    recovery = net.recover(x_1CHW)
    signals = torch.from_numpy(bundle.signals_nCHW)
    phase = phases_of(x_1CHW, 4)
    place_ = Search(signals)(recovery.signals_B3SS[0], phase[0], offsets)
    placed = mixed_signals(signals, phase, torch.tensor([offsets or place_.offsets]), place_.placement_23[None])
    logit, changed = net(x_1CHW, recovery, placed)
    found = Judge.from_bundle(bundle, offsets)([pixels])
    unfit = 0.0 if offsets is None else FIT_WEIGHT * (1 - float(found.fit_B[0]))
    assert found.manipulated_B[0] == pytest.approx(1 / (1 + np.exp(float(logit) - unfit)), rel=1e-5)
    assert found.likeness_B[0] == pytest.approx(place_.likeness, abs=1e-4)
    if offsets is None:
        assert np.isnan(found.fit_B[0])
    else:
        terms = [much * np.cos(one - other) for one, other, much in zip(place_.offsets, offsets, place_.strengths, strict=True)]
        assert found.fit_B[0] == pytest.approx(sum(terms) / sum(place_.strengths), abs=1e-5)
    assert found.changed_BHW[0] == pytest.approx(1 / (1 + np.exp(-changed[0, 0].numpy())), rel=1e-4)
    assert found.changed_BHW.shape == (1, SIZE // 2, SIZE // 2)


def test_the_other_pictures_of_a_batch_whatever_their_sizes_change_nothing_but_rounding(bundle: Bundle) -> None:
    judge, three = Judge.from_bundle(bundle), pictures((16, 16), (31, 20), (90, 70))
    together, alone = judge(three), [judge([one]) for one in three]
    assert together.manipulated_B == pytest.approx([one.manipulated_B[0] for one in alone], abs=1e-5)
    assert together.likeness_B == pytest.approx([one.likeness_B[0] for one in alone], abs=1e-3)


def test_a_picture_that_lost_its_signal_is_as_suspicious_as_can_be() -> None:
    judgement = Judgement(
        np.array([0.2, 0.3]),
        np.array([0.4, 0.5], np.float32),
        np.ones(2, np.float32),
        np.zeros((2, 8, 8), np.float32),
        (False,) * 2,
    )
    assert judgement.suspicion(0.4).tolist() == [1.0, 0.3]
    assert judgement.suspicion(None).tolist() == [0.2, 0.3]


def test_what_a_grey_picture_carries_is_likened_to_the_one_plane_that_grey_photos_get(bundle: Bundle) -> None:
    (grey,) = pictures((SIZE, SIZE), planes=1)
    x_1CHW = torch.from_numpy(grey.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    recovered = detector_of(bundle).recover(x_1CHW).signals_B3SS[0]
    wanted = Search(grey_signals(torch.from_numpy(bundle.signals_nCHW)))(recovered, phases_of(x_1CHW.expand(1, 3, -1, -1), 4)[0])
    for file in (grey, np.repeat(grey, 3, 2)):
        found = Judge.from_bundle(bundle)([file])
        assert (found.grey_B, found.likeness_B[0]) == ((True,), pytest.approx(wanted.likeness, abs=1e-4))
    coloured = np.repeat(grey, 3, 2)
    coloured[3, 5, 0] ^= 1
    assert Judge.from_bundle(bundle)([coloured]).grey_B == (False,)


def test_grey_is_judged_as_the_same_picture_in_three_equal_planes(bundle: Bundle) -> None:
    (grey,) = pictures((25, 19), planes=1)
    judge = Judge.from_bundle(bundle)
    found, wanted = judge([grey]), judge([np.repeat(grey, 3, axis=2)])
    assert found.manipulated_B == wanted.manipulated_B
    assert (found.likeness_B == wanted.likeness_B).all()


def test_a_detector_in_no_bundle_yet_judges_alike_whatever_the_unit_of_its_signals(bundle: Bundle) -> None:
    draft = Judge(detector_of(bundle), torch.from_numpy(bundle.signals_nCHW) / 127.5)
    two = pictures((16, 16), (40, 33))
    assert draft(two).manipulated_B == pytest.approx(Judge.from_bundle(bundle)(two).manipulated_B)
    assert draft(two).likeness_B == pytest.approx(Judge.from_bundle(bundle)(two).likeness_B, abs=1e-4)


def test_without_signals_there_is_nothing_to_be_like(tmp_path: Path) -> None:
    found = Judge.from_bundle(read_bundle(tiny_bundle(tmp_path, count=0)))(pictures((16, 16), (20, 20)))
    assert found.likeness_B.tolist() == [-1.0, -1.0]


def by_brightness(pictures: Sequence[U8]) -> Judgement:
    """Calls bright pictures manipulated, and dark ones like a signal: both can be reckoned by hand."""
    assert len(pictures) <= 64
    mean_B, B = np.array([pixels.mean() / 255 for pixels in pictures]), len(pictures)
    return Judgement(mean_B, (1 - mean_B).astype(np.float32), np.ones(B, np.float32), np.zeros((B, 1, 1), np.float32), (False,) * B)


def test_scores_are_each_persons_worst_over_photos_and_honest_handlings(bundle: Bundle) -> None:
    photos = pictures(*[(16 + i, 40 - i) for i in range(30)])
    people = [f"p{i // 3}" for i in range(30)]
    scores = calibration_scores(bundle, (1.0, 2.0), by_brightness, photos, people)
    signed = [with_signal(Photo(pixels, None, "PNG"), bundle, (1.0, 2.0)) for pixels in photos]

    def means(files: list[U8]) -> np.ndarray:
        all_ways = np.array([[handle(x, i).mean() / 255 for i, x in enumerate(files)] for handle in HONEST.values()])
        return all_ways.reshape(len(HONEST), 10, 3)

    assert scores["untouched"] == pytest.approx(means(signed).max((0, 2)), abs=1e-4)
    assert scores["carried"] == pytest.approx(1 - means(signed).max((0, 2)), abs=1e-4)
    assert scores["plain"] == pytest.approx(1 - means(photos).min((0, 2)), abs=1e-4)
    assert {name: len(values) for name, values in scores.items()} == {
        GREY * grey + k: 10 for k in ("untouched", "carried", "plain") for grey in (0, 1)
    }


def test_without_signals_the_untouched_files_are_the_photos_themselves(tmp_path: Path) -> None:
    passive = read_bundle(tiny_bundle(tmp_path, count=0))
    (pixels,) = pictures((20, 20))
    scores = calibration_scores(passive, (), by_brightness, [pixels], ["a"], handlings={"clean": HONEST["clean"]})
    assert scores["untouched"] == pytest.approx([pixels.mean() / 255])
    assert "plain" not in scores


def test_a_held_out_photo_that_is_too_small_for_a_signal_is_refused(bundle: Bundle) -> None:
    with pytest.raises(PhotoRefusedError, match="too small for a signal, which needs 8"):
        calibration_scores(bundle, (1.0, 2.0), by_brightness, pictures((7, 20)), ["a"])
