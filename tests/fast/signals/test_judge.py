"""The detector of a bundle as it is asked about pictures, and the scores from which thresholds come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.channels.channels import find_channels
from pipeline.photos.photo import U8, Photo, PhotoRefusedError
from pipeline.signals.add import with_signal
from pipeline.signals.bundle import Bundle, read_bundle
from pipeline.signals.detector import Detector
from pipeline.signals.judge import CHANNELS, Judge, Judgement, calibration_scores
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


def test_a_picture_at_the_detectors_own_size_is_judged_as_the_net_and_numpy_say(bundle: Bundle) -> None:
    (pixels,) = pictures((SIZE, SIZE))
    x_1CHW = torch.from_numpy(pixels.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    logit, recovered = detector_of(bundle)(x_1CHW)
    found = Judge.from_bundle(bundle)([pixels])
    assert found.manipulated_B[0] == pytest.approx(1 / (1 + np.exp(float(logit))), rel=1e-5)
    flat, signals = recovered.flatten().double().numpy(), bundle.signals_nCHW.reshape(bundle.count, -1).astype(np.float64)
    wanted = signals @ flat / np.linalg.norm(signals, axis=1) / np.linalg.norm(flat)
    assert found.likeness_Bn[0] == pytest.approx(wanted, abs=1e-6)
    assert (found.which(), found.best()[0]) == ([int(wanted.argmax())], pytest.approx(wanted.max(), abs=1e-6))


def test_the_other_pictures_of_a_batch_whatever_their_sizes_change_nothing_but_rounding(bundle: Bundle) -> None:
    judge, three = Judge.from_bundle(bundle), pictures((16, 16), (31, 20), (90, 70))
    together, alone = judge(three), [judge([one]) for one in three]
    assert together.manipulated_B == pytest.approx([one.manipulated_B[0] for one in alone], abs=1e-5)
    assert together.likeness_Bn == pytest.approx(np.concatenate([one.likeness_Bn for one in alone]), abs=1e-5)
    assert together.likeness_Bn.shape == (3, 3)


def test_what_a_grey_picture_carries_is_likened_to_the_one_plane_that_grey_photos_get(bundle: Bundle) -> None:
    (grey,) = pictures((SIZE, SIZE), planes=1)
    _, recovered = detector_of(bundle)(torch.from_numpy(grey.astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None])
    found = recovered[0].double().numpy()
    signals = bundle.signals_nCHW[:, 1].astype(np.float64)
    wanted = [3**-0.5 * (found.sum(0) * plane).sum() / np.linalg.norm(plane) / np.linalg.norm(found) for plane in signals]
    for file in (grey, np.repeat(grey, 3, 2)):
        assert Judge.from_bundle(bundle)([file]).likeness_Bn[0] == pytest.approx(wanted, abs=1e-6)
    coloured = np.repeat(grey, 3, 2)
    coloured[3, 5, 0] ^= 1
    assert Judge.from_bundle(bundle)([coloured]).likeness_Bn[0] != pytest.approx(wanted, abs=1e-3)


def test_grey_is_judged_as_the_same_picture_in_three_equal_planes(bundle: Bundle) -> None:
    (grey,) = pictures((25, 19), planes=1)
    judge = Judge.from_bundle(bundle)
    found, wanted = judge([grey]), judge([np.repeat(grey, 3, axis=2)])
    assert found.manipulated_B == wanted.manipulated_B
    assert (found.likeness_Bn == wanted.likeness_Bn).all()


def test_a_detector_in_no_bundle_yet_judges_alike_whatever_the_unit_of_its_signals(bundle: Bundle) -> None:
    draft = Judge(detector_of(bundle), torch.from_numpy(bundle.signals_nCHW) / 127.5)
    two = pictures((16, 16), (40, 33))
    assert draft(two).manipulated_B == pytest.approx(Judge.from_bundle(bundle)(two).manipulated_B)
    assert draft(two).likeness_Bn == pytest.approx(Judge.from_bundle(bundle)(two).likeness_Bn, abs=1e-6)


def test_without_signals_there_is_nothing_to_be_like(tmp_path: Path) -> None:
    found = Judge.from_bundle(read_bundle(tiny_bundle(tmp_path, count=0)))(pictures((16, 16), (20, 20)))
    assert found.likeness_Bn.shape == (2, 0)
    assert (found.which(), found.best().tolist()) == ([0, 0], [-1.0, -1.0])


class Brightness(Judge):
    """Calls bright pictures manipulated, and dark ones like the second signal: both can be reckoned by hand."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, pictures: Sequence[U8]) -> Judgement:
        self.asked = max(self.asked, len(pictures))
        mean_B = np.array([pixels.mean() / 255 for pixels in pictures])
        return Judgement(mean_B, np.stack([-mean_B, -mean_B / 2], axis=1).astype(np.float32))


def test_scores_are_those_of_signed_and_of_plain_files_after_every_channel_and_rise(bundle: Bundle) -> None:
    photos = pictures(*[(16 + i, 40 - i) for i in range(30)])
    judge = Brightness()
    scores = calibration_scores(bundle, judge, photos)
    ways = find_channels(CHANNELS)
    signed = [with_signal(Photo(pixels, None, "PNG"), bundle, i % 3) for i, pixels in enumerate(photos)]
    for kind, files, sign in (("untouched", signed, 1), ("plain", photos, -0.5)):
        wanted = sorted(sign * way.apply(pixels, i).mean() / 255 for way in ways for i, pixels in enumerate(files))
        assert scores[kind] == pytest.approx(wanted, abs=1e-6)
    assert len(scores["plain"]) == 90
    assert 1 < judge.asked <= 64
    assert not np.array_equal(scores["untouched"], scores["plain"])


def test_without_signals_the_untouched_files_are_the_photos_themselves(tmp_path: Path) -> None:
    passive = read_bundle(tiny_bundle(tmp_path, count=0))
    (pixels,) = pictures((20, 20))
    assert calibration_scores(passive, Brightness(), [pixels], channels=("clean",))["untouched"] == pytest.approx(
        [pixels.mean() / 255]
    )


def test_a_held_out_photo_that_is_too_small_for_a_signal_is_refused(bundle: Bundle) -> None:
    with pytest.raises(PhotoRefusedError, match="too small for a signal, which needs 8"):
        calibration_scores(bundle, Brightness(), pictures((7, 20)))
