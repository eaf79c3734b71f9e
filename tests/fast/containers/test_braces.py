"""Brace patterns, compared with the library that WebDataset uses."""

from __future__ import annotations

import pytest
from braceexpand import braceexpand
from hypothesis import given
from hypothesis import strategies as st

from pipeline.containers.braces import expand
from pipeline.containers.errors import ContainerError

END = st.sampled_from(["008", "010", "0", "100"]) | st.from_regex(r"\A[0-9]{1,2}\Z")
WORDS = st.lists(st.text(st.sampled_from("ab.-/:*"), max_size=3), min_size=2, max_size=3).map(",".join)
BRACES = st.one_of(st.tuples(END, END).map("..".join), WORDS).map(lambda inner: f"{{{inner}}}")
PATTERN = st.tuples(
    st.text(st.sampled_from("ab/.:,"), max_size=4), BRACES, st.sampled_from(["", "-", ".tar"]), st.just("") | BRACES
)


@given(PATTERN.map("".join))
def test_names_are_those_of_webdataset_in_its_order(pattern: str) -> None:
    assert expand(pattern) == list(braceexpand(pattern))


def test_shards_are_counted_with_their_zeros() -> None:
    assert expand("s3://x/shard-{000008..000010}.tar") == [
        f"s3://x/shard-{number}.tar" for number in ("000008", "000009", "000010")
    ]
    assert expand("plain.tar") == ["plain.tar"]


@pytest.mark.parametrize("pattern", ["a{1..2", "a1}", "{a{1..2},b}", "{}", "{1}", "{1...3}", "x{0..99999999}", "{0..999}{0..9999}"])
def test_patterns_that_cannot_be_meant_are_refused_by_name(pattern: str) -> None:
    with pytest.raises(ContainerError) as error:
        expand(pattern)
    assert str(error.value).startswith(pattern[:3] if pattern.startswith("{0") else pattern)
