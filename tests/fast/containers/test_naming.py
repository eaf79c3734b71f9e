"""Output names: unique on every filesystem, inside the folder, the same in any order."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.containers import naming
from pipeline.containers.naming import LONGEST, fold_name, output_names, simple_name, suffix_of, unsafe_reason

_PARTS = st.sampled_from(["a", "A", "b", "a.png", "é", "e\u0301", "b.jpg", "straße", "STRASSE"])
_SUFFIXES = st.sampled_from([".jpg", ".png", ".PNG", ".jpg.png", ".webp", ""])
_KEYS = st.builds(lambda parts, suffix: "/".join(parts) + suffix, st.lists(_PARTS, min_size=1, max_size=3), _SUFFIXES)


def _alike(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


@given(st.sets(_KEYS, max_size=12), st.randoms(use_true_random=False))
def test_names_are_unique_keep_their_folder_and_do_not_depend_on_the_order(keys: set[str], random: object) -> None:
    names = output_names(sorted(keys), suffix=".png")
    shuffled = sorted(keys)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert output_names(shuffled, suffix=".png") == names
    assert names.keys() == keys
    assert len({_alike(name) for name in names.values()}) == len(keys)
    for key, name in names.items():
        assert name.endswith(".png")
        assert name.rpartition("/")[0] == key.rpartition("/")[0]
        assert not any(_alike(other).startswith(_alike(name) + "/") for other in names.values()), "a file takes a folder's name"


def test_only_the_suffix_changes_where_nothing_collides() -> None:
    assert output_names(["a/b.jpg", "c.d.jpeg", "e"], suffix=".png") == {"a/b.jpg": "a/b.png", "c.d.jpeg": "c.d.png", "e": "e.png"}


def test_the_input_that_bears_the_name_keeps_it_and_the_others_say_where_they_come_from() -> None:
    assert output_names(["b.jpg", "b.png", "b.webp"], suffix=".png") == {
        "b.jpg": "b.jpg.png",
        "b.png": "b.png",
        "b.webp": "b.webp.png",
    }


def test_names_that_differ_in_case_only_are_kept_apart() -> None:
    assert sorted(output_names(["A.jpg", "a.jpg"], suffix=".png").values()) == ["A.jpg.png", "a.jpg.2.png"]


def test_a_name_that_an_earlier_run_wrote_is_not_taken_again() -> None:
    assert output_names(["a/b.png"], suffix=".png", taken={fold_name("A/B.png")}) == {"a/b.png": "a/b.png.png"}


@pytest.mark.parametrize("key", ["../a.jpg", "a/../../b.jpg", "/etc/a.jpg", "C:/a.jpg", "c:a.jpg", "a\\b.jpg", "..", ""])
def test_a_key_that_leaves_the_output_folder_is_refused(key: str) -> None:
    assert unsafe_reason(key) == "name leaves the output folder"
    with pytest.raises(ValueError, match="name leaves the output folder"):
        output_names([key], suffix=".png")


@pytest.mark.parametrize("key", ["a//b.jpg", "a/", "./a.jpg", "a\nb.jpg", "a\0.jpg", "a\udcff.jpg", ".disrupt/lock.jpg"])
def test_other_keys_that_cannot_be_written_safely_are_refused(key: str) -> None:
    assert unsafe_reason(key)


@pytest.mark.parametrize("key", ["näme with spaces ü 日本.jpg", "..a.jpg", "a..b/c.jpg", "100%.jpg", ".hidden.jpg"])
def test_odd_but_harmless_names_are_accepted(key: str) -> None:
    assert unsafe_reason(key) is None


@given(st.lists(st.sampled_from([*"aZ_-. /\\:\n\0é", ".disrupt"]), max_size=7).map("".join))
def test_the_short_way_for_plain_names_refuses_what_the_long_one_refuses(key: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(naming, "_PLAIN", re.compile("(?!)"))
        reason = unsafe_reason(key)
    assert unsafe_reason(key) == reason


@given(st.text("aB./é", max_size=8))
def test_a_suffix_is_that_of_the_library_in_lower_case(name: str) -> None:
    assert suffix_of(name) == posixpath.splitext(name)[1].lower()


@given(st.text("ab./", min_size=1, max_size=8).filter(lambda key: unsafe_reason(key) is None))
def test_the_simple_name_is_that_of_the_path_with_another_suffix(key: str) -> None:
    assert simple_name(key, ".png") == PurePosixPath(key).with_suffix(".png").as_posix()


_LETTERS = [*"aAbB.~ :\\", "é", "e\u0301", "日" * 60, "x" * 120]
_ODD = st.lists(st.sampled_from(_LETTERS), min_size=1, max_size=5).map("".join)
_WORDS = st.sampled_from(["con", "CON", "nul.tar", "lpt\u00b9", "a~0123456789ab", "Com1 ", "ß", "ss", "a?", "a*"])
_ODD_KEYS = st.lists(_ODD | _WORDS, min_size=1, max_size=2).map("/".join).map(lambda key: f"{key}.jpg")
_WINDOWS = re.compile(r'[<>:"|?*\\]|[. ]$|^(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\.|$)', re.IGNORECASE)
_DEVICES = ["CON", "prn.x", "Aux", "nul", "COM1", "lpt9.tar", "COM\u00b2", "con .a"]


def _portable_keys(keys: set[str]) -> list[str]:
    return [key for key in keys if unsafe_reason(key, portable=True) is None]


@given(st.sets(_ODD_KEYS, max_size=8))
def test_portable_names_fit_every_file_system_and_none_needs_to_know_another(keys: set[str]) -> None:
    names = {key: simple_name(key, ".png", portable=True) for key in _portable_keys(keys)}
    assert len({_alike(name) for name in names.values()}) == len(names)
    assert output_names(names, suffix=".png", portable=True) == names
    for name in names.values():
        assert unsafe_reason(name) is None
        assert name.endswith(".png")
        for part in name.split("/"):
            assert len(part.encode()) <= LONGEST
            assert not _WINDOWS.search(part)
            assert unicodedata.is_normalized("NFC", part)


def test_what_every_file_system_takes_keeps_its_name_and_a_folder_keeps_its_photos_together() -> None:
    plain = ["summer 2024/img_0001.jpg", "日本/é.jpeg", "a~1.jpg"]
    assert [simple_name(key, ".png", portable=True) for key in plain] == ["summer 2024/img_0001.png", "日本/é.png", "a~1.png"]
    a, b = (simple_name(key, ".png", portable=True) for key in ("Trip/a.jpg", "Trip/b.jpg"))
    assert re.fullmatch(r"Trip~[0-9a-f]{12}/a\.png", a)
    assert b == a.replace("/a.png", "/b.png")
    made = simple_name("a?.jpg", ".png", portable=True)
    assert simple_name(made, ".png", portable=True) != made, "an input that is called like a made name"


@pytest.mark.parametrize("word", _DEVICES)
def test_names_of_windows_devices_are_changed_in_front_too(word: str) -> None:
    name = simple_name(f"{word}.jpg", ".png", portable=True)
    assert name.startswith(f"_{word}")
    assert simple_name(f"{word}.jpg", ".png") == f"{word}.png"


@pytest.mark.parametrize("key", ["a\\b.jpg", "..\\..\\a.jpg", "c:a.jpg", "C:\\a.jpg"])
def test_backslashes_and_drives_are_only_characters_of_a_portable_name(key: str) -> None:
    (name,) = output_names([key], suffix=".png", portable=True).values()
    assert unsafe_reason(name) is None
    assert "/" not in name


@pytest.mark.parametrize("key", ["../a.jpg", "/a.jpg", "a//b.jpg", ".disrupt/a.jpg", "a\nb.jpg", "a\udcff.jpg"])
def test_what_no_name_is_made_from_stays_refused(key: str) -> None:
    assert unsafe_reason(key, portable=True) == unsafe_reason(key)


@pytest.mark.parametrize("letter", ["x", "é", "日", "\U0001f600"])
def test_long_names_are_cut_between_letters_and_stay_apart(letter: str) -> None:
    long = letter * ((LONGEST - 5) // len(letter.encode()))
    keys = [f"{long}.jpg", f"{long}.jpeg", f"{long[:-1]}y.jpg", f"{long[:-1]}z.jpg", f"{long}/{long}.jpg"]
    names = output_names(keys, suffix=".webp", portable=False)
    assert len({fold_name(name) for name in names.values()}) == len(keys)
    for key, name in names.items():
        assert all(len(part.encode()) <= LONGEST for part in name.split("/"))
        assert name == simple_name(key, ".webp") or name.startswith(long[:40])
        assert name.endswith(".webp")
    assert names[keys[4]].split("/")[0] == long, "a folder that fits keeps its name"
    assert simple_name(f"{long * 2}/a.jpg", ".png").split("/")[0] == simple_name(f"{long * 2}/b.jpg", ".png").split("/")[0]


def test_a_name_that_just_fits_is_not_cut() -> None:
    assert simple_name(f"{'x' * 251}.jpg", ".png") == f"{'x' * 251}.png"
    assert re.fullmatch(r"x{237}~[0-9a-f]{12}\.webp", simple_name(f"{'x' * 251}.jpg", ".webp"))
