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
from pipeline.containers.naming import fold_name, output_names, simple_name, suffix_of, unsafe_reason

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
