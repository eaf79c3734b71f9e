"""What a secret decides, against HMAC-SHA256 written out by hand; and secrets that are missing or of no use."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.signals.key import LEAST_BYTES, VARIABLE, SecretError, choice_of, fingerprint, offsets_of, read_secret

SECRET = b"a secret of the tests, 32 bytes."


def hmac_by_hand(key: bytes, message: bytes) -> bytes:
    """RFC 2104: H(key ^ opad, H(key ^ ipad, message)), blocks of 64 bytes."""
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()


@given(
    st.binary(min_size=LEAST_BYTES, max_size=100),
    st.text(st.characters(exclude_characters="/")).map("in/x{}".format),
    st.integers(1, 64),
)
def test_the_choice_is_the_keyed_hash_of_the_name_without_its_suffix_modulo_n(secret: bytes, name: str, count: int) -> None:
    expected = int(hmac_by_hand(secret, name.encode("utf-8", "surrogatepass")).hex(), 16) % count
    assert choice_of(secret, f"{name}.jpg", count) == choice_of(secret, f"{name}.png", count) == expected


def test_a_published_vector_of_hmac_gives_its_choice() -> None:
    # RFC 4231, test case 2.
    digest = 0x5BDCC146BF60754E6A042426089575C75A003F089D2739839DEC58B964EC3843
    assert choice_of(b"Jefe", "what do ya want for nothing?", 1009) == digest % 1009


def test_choices_are_shared_out_evenly_and_otherwise_under_another_secret() -> None:
    names = [f"in/{i}.jpg" for i in range(4000)]
    mine, other = ([choice_of(secret, name, 4) for name in names] for secret in (SECRET, SECRET[::-1]))
    assert all(900 < count < 1100 for count in Counter(mine).values())
    assert 900 < sum(a == b for a, b in zip(mine, other, strict=True)) < 1100


def test_the_offset_of_a_pair_is_a_turn_times_the_keyed_hash_of_its_number() -> None:
    digests = [hmac_by_hand(SECRET, f"disrupt: offset of pair {pair}".encode()) for pair in range(3)]
    assert offsets_of(SECRET, 6) == pytest.approx([2 * math.pi * int.from_bytes(each[:8], "big") / 2**64 for each in digests])
    assert offsets_of(SECRET, 4) == offsets_of(SECRET, 6)[:2] != offsets_of(SECRET[::-1], 4)
    assert offsets_of(SECRET, 0) == ()


def test_a_secret_is_read_from_the_file_before_the_variable_and_without_its_end_of_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path / "key").write_bytes(SECRET + b"\r\n")
    monkeypatch.setenv(VARIABLE, "another secret of the tests\n")
    assert read_secret(file) == SECRET
    assert read_secret(None) == b"another secret of the tests"


def test_a_variable_with_bytes_that_are_no_text_is_a_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, (b"\xff\xfe" * 8).decode("utf-8", "surrogateescape"))
    assert read_secret(None) == b"\xff\xfe" * 8


def test_no_secret_at_all_is_refused_with_how_to_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SecretError, match=f"give --key-file FILE or set {VARIABLE}; make one with: head -c 32"):
        read_secret(None)


def test_a_key_file_that_is_no_use_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="no such file; make one with"):
        read_secret(tmp_path / "missing")
    with pytest.raises(SecretError, match="cannot be read"):
        read_secret(tmp_path)
    (short := tmp_path / "short").write_bytes(b"hush-hush\n")
    with pytest.raises(SecretError, match="holds 9 bytes; a secret needs at least 16") as refusal:
        read_secret(short)
    assert "hush" not in str(refusal.value)


def test_a_fingerprint_tells_secrets_apart_and_is_no_signal() -> None:
    assert fingerprint(SECRET) == hmac_by_hand(SECRET, b"disrupt: fingerprint of a signal key").hex()[:8]
    assert fingerprint(SECRET) != fingerprint(SECRET + b"!")
