from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.channels.channels import CHANNELS, GROUPS, RED_TEAM, ChannelError, find_channels
from pipeline.channels.denoise import bilateral, wavelet
from pipeline.channels.operations import blur, jpeg
from pipeline.images.types import U8
from tests.fast.tiny import picture

EVERY = CHANNELS | RED_TEAM
DENOISERS = ("median-3", "gaussian-0.8", "bilateral", "wavelet")
NEW_SIZE = {"crop-10": 0.9, "screenshot": 0.75}


def pixels(width: int = 61, height: int = 50, *, seed: int = 0, grey: bool = False) -> U8:
    array = np.asarray(picture(width, height, seed=seed, mode="L" if grey else "RGB"))
    return array[:, :, None] if grey else array


def rms(a: U8, b: U8) -> float:
    return float(np.sqrt(np.square(a.astype(float) - b).mean()))


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_a_channel_gives_8_bit_pixels_of_the_same_channels_and_leaves_its_input_alone(name: str, grey: bool) -> None:
    before = pixels(grey=grey)
    given_ = before.copy()
    given_.flags.writeable = False
    after = EVERY[name].apply(given_, 3)
    share = NEW_SIZE.get(name, 1)
    assert after.dtype == np.uint8
    assert after.shape == (round(share * 50), round(share * 61), 1 if grey else 3)
    assert np.array_equal(given_, before)
    assert not np.shares_memory(after, given_)
    assert np.array_equal(EVERY[name].apply(given_, 3), after)


@given(st.integers(1, 20), st.integers(1, 20), st.booleans(), st.sampled_from(sorted(EVERY)))
@settings(max_examples=30)
def test_a_picture_of_any_size_passes_every_channel(width: int, height: int, grey: bool, name: str) -> None:
    after = EVERY[name].apply(pixels(width, height, grey=grey), 0)
    assert after.ndim == 3
    assert after.size > 0


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"noise-2", "screenshot"}))
def test_an_even_picture_stays_what_it_is(name: str) -> None:
    even = np.full((40, 40, 3), 128, np.uint8)
    assert np.abs(EVERY[name].apply(even, 0).astype(int) - 128).max() <= 1


def test_a_jpeg_channel_is_the_file_that_pillow_writes() -> None:
    image = picture(61, 50)
    for name, subsampling in (("jpeg-85", "4:2:0"), ("jpeg-85-444", "4:4:4")):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85, subsampling=subsampling)
        assert np.array_equal(CHANNELS[name].apply(np.asarray(image), 0), np.asarray(Image.open(file)))


@pytest.mark.parametrize("suffix", ["", "-444"])
def test_a_lower_quality_takes_more(suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    losses = [rms(CHANNELS[f"jpeg-{quality}{suffix}"].apply(noise, 0), noise) for quality in (95, 92, 85, 75, 50)]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]


def test_chroma_at_half_size_loses_what_full_chroma_keeps() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8) + np.uint8(128)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 255, 255
    lost = {name: rms(CHANNELS[name].apply(stripes, 0), stripes) for name in ("jpeg-95", "jpeg-95-444")}
    assert lost["jpeg-95"] > 5 * lost["jpeg-95-444"]


def test_half_size_forgets_the_finest_pattern() -> None:
    board = ((np.indices((32, 32)).sum(0) % 2) * 20 + 100).astype(np.uint8)[:, :, None]
    after = CHANNELS["half-size"].apply(board, 0)
    assert np.abs(after[4:-4, 4:-4].astype(float) - 110).max() <= 1


def test_the_crop_is_the_middle_window() -> None:
    before = pixels(100, 40)
    assert np.array_equal(CHANNELS["crop-10"].apply(before, 0), before[2:38, 5:95])


@pytest.mark.parametrize(
    ("name", "box"),
    [("clean", (10, 20, 30, 40)), ("jpeg-85", (10, 20, 30, 40)), ("crop-10", (5, 17, 25, 37)), ("screenshot", (8, 15, 22, 30))],
)
def test_a_box_follows_what_its_channel_does_to_the_size(name: str, box: tuple[int, int, int, int]) -> None:
    before = pixels(100, 60)
    assert EVERY[name].move_box((10, 20, 30, 40), before, EVERY[name].apply(before, 0)) == box


@pytest.mark.parametrize("name", EVERY)
def test_a_moved_box_holds_what_the_box_held(name: str) -> None:
    left, top, right, bottom = box = (900, 12, 1500, 40)
    before = np.full((50, 2500, 1), 40, np.uint8)
    before[top:bottom, left:right] = 200
    after = EVERY[name].apply(before, 0)
    bright = after[:, :, 0] > 120
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    held = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert np.abs(np.subtract(EVERY[name].move_box(box, before, after), held)).max() <= 1


def test_a_box_that_is_cut_away_is_refused() -> None:
    before = pixels(100, 60)
    with pytest.raises(ChannelError, match="nothing is left of the box"):
        EVERY["crop-10"].move_box((0, 0, 5, 60), before, EVERY["crop-10"].apply(before, 0))


def test_noise_has_the_sigma_it_says_and_its_own_seed() -> None:
    even = np.full((200, 200, 3), 128, np.uint8)
    noisy = CHANNELS["noise-2"].apply(even, 1)
    assert abs(noisy.astype(float).std() - 2) < 0.05
    assert abs(noisy.astype(float).mean() - 128) < 0.05
    assert not np.array_equal(noisy, CHANNELS["noise-2"].apply(even, 2))


def test_a_screenshot_keeps_black_and_white_and_brightens_between() -> None:
    for level, shown in ((0, 0), (255, 255), (128, round(255 * (128 / 255) ** (1 / 1.1)))):
        even = np.full((20, 20, 1), level, np.uint8)
        assert np.unique(CHANNELS["screenshot"].apply(even, 0)).tolist() == [shown]


def test_facebook_brings_the_long_edge_down_and_no_more() -> None:
    wide = np.zeros((10, 4096, 3), np.uint8)
    assert CHANNELS["facebook"].apply(wide, 0).shape == (5, 2048, 3)
    assert np.array_equal(CHANNELS["facebook"].apply(pixels(), 0), CHANNELS["jpeg-92"].apply(pixels(), 0))


@pytest.mark.parametrize(("width", "height", "untouched"), [(899, 20, True), (900, 20, False), (20, 900, False)])
def test_x_leaves_small_pictures_as_they_are(width: int, height: int, untouched: bool) -> None:
    before = pixels(width, height)
    expected = before if untouched else jpeg(before, quality=85)
    assert np.array_equal(CHANNELS["x"].apply(before, 0), expected)


@pytest.mark.parametrize("name", DENOISERS)
def test_a_denoiser_brings_a_noisy_picture_closer_to_the_quiet_one(name: str) -> None:
    quiet = pixels(96, 96)
    noise = np.random.default_rng(0).integers(-6, 7, quiet.shape)
    noisy = np.clip(quiet + noise, 0, 255).astype(np.uint8)
    assert rms(EVERY[name].apply(noisy, 0), quiet) < 0.8 * rms(noisy, quiet)


@pytest.mark.parametrize("name", ["bilateral", "wavelet"])
def test_an_edge_survives_the_denoisers_that_are_to_keep_it(name: str) -> None:
    edge = np.full((32, 32, 1), 40, np.uint8)
    edge[:, 15:] = 200
    assert rms(EVERY[name].apply(edge, 0), edge) < 5
    assert rms(blur(edge, 0.8), edge) > 2 * rms(EVERY[name].apply(edge, 0), edge)


def test_the_bilateral_filter_is_its_definition_pixel_by_pixel() -> None:
    x = pixels(9, 7, seed=4).astype(float)
    padded = np.pad(x, ((2, 2), (2, 2), (0, 0)), mode="edge")
    expected = np.empty_like(x)
    for i in range(7):
        for j in range(9):
            patch = padded[i : i + 5, j : j + 5]
            near = np.add.outer(np.arange(-2, 3) ** 2, np.arange(-2, 3) ** 2) / (2 * 1.5**2)
            weight = np.exp(-near - np.square(patch - x[i, j]).mean(2) / (2 * 12**2))
            expected[i, j] = (patch * weight[:, :, None]).sum((0, 1)) / weight.sum()
    assert np.abs(bilateral(x.astype(np.uint8)) - expected).max() <= 0.51


def test_strips_do_not_show_in_a_filtered_picture() -> None:
    x = pixels(1500, 40)  # several strips
    assert np.array_equal(bilateral(x)[:, :50], bilateral(x[:, :60])[:, :50])


def test_wavelets_without_a_threshold_change_nothing() -> None:
    x = pixels(37, 23)
    assert np.array_equal(wavelet(x, threshold=0), x)


def test_the_groups_are_their_channels_in_order_and_each_once() -> None:
    assert [c.name for c in find_channels(["all"])] == list(CHANNELS)
    assert [c.name for c in find_channels(["red-team"])] == list(RED_TEAM)
    assert [c.name for c in find_channels(["social", "jpeg-85", "facebook"])] == ["facebook", "x", "jpeg-85"]
    assert len(find_channels(["jpeg"])) == 10
    assert find_channels([]) == []


def test_names_are_those_of_the_rows_and_stand_for_one_thing() -> None:
    assert all(name == channel.name and channel.about for name, channel in EVERY.items())
    assert not CHANNELS.keys() & RED_TEAM.keys()
    assert not GROUPS.keys() & EVERY.keys()


@pytest.mark.parametrize(("wrong", "near"), [("jpg-85", "jpeg-85"), ("halfsize", "half-size"), ("redteam", "red-team")])
def test_an_unknown_channel_is_refused_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(ChannelError, match=f"did you mean {near}\\?"):
        find_channels(["clean", wrong])


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_pixels_of_another_kind_are_refused(wrong: U8) -> None:
    with pytest.raises(ChannelError, match="8-bit pixels"):
        CHANNELS["jpeg-85"].apply(wrong, 0)


def test_a_side_that_webp_cannot_hold_is_refused() -> None:
    with pytest.raises(ChannelError, match="up to 16383 pixels"):
        CHANNELS["webp-80"].apply(np.zeros((1, 16384, 3), np.uint8), 0)
