from __future__ import annotations

import dataclasses
import errno
import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.containers.listing import PhotoRef
from pipeline.images import LOST
from pipeline.ledger.errors import LedgerError
from pipeline.ledger.schema import ManifestRow
from pipeline.photos.decode import decode_photo
from pipeline.protection.options import ProtectConfig
from pipeline.protection.row import Effect, Work
from pipeline.protection.stages.write import Destination, verdict, write_photos
from pipeline.storage import Folder
from tests.fast.tiny import photo_bytes

CONFIG = ProtectConfig("in", "out")
STRONG = Effect(
    ["Smile", "Glasses"],
    [0.3, 0.5],
    [0.06, 0.2],
    moved=True,
    levelled=[0.05, 0.1],
    local=[0.01, 0.02],
    lost=[0.3, 0.5],
    ssim=[0.4, 0.3],
    edit=[0.1, 0.03],
)


def work(key: str = "a.jpg", *, change: int = 4, effect: Effect | None = STRONG) -> Work:
    data = photo_bytes(seed=3)
    pixels = decode_photo(data).pixels_HWC
    moved = np.where(pixels > 127, pixels - change, pixels + change).astype(np.uint8)
    return Work(PhotoRef(key, key, len(data)), f"{Path(key).stem}.png", data=data, pixels_HWC=moved, effect=effect, seconds=1.5)


def write(folder: Path, *works: Work, config: ProtectConfig = CONFIG) -> list[ManifestRow]:
    to = Destination(Folder(folder), signature="5ig", generator="tiny")
    return write_photos(works, config, to)


def test_a_row_tells_the_truth_about_the_file(tmp_path: Path) -> None:
    (row,) = write(tmp_path, done := work())
    written = (tmp_path / "a.png").read_bytes()
    assert done.pixels_HWC is not None
    assert np.array_equal(decode_photo(written).pixels_HWC, done.pixels_HWC)
    assert row.sha256_out == hashlib.sha256(written).hexdigest()
    assert row.sha256_in == hashlib.sha256(done.data or b"").hexdigest()
    assert (row.bytes_in, row.bytes_out) == (len(done.data or b""), len(written))
    assert (row.status, row.stage, row.reason, row.output) == ("protected", None, None, "a.png")
    assert (row.width, row.height, row.mode, row.format_in) == (24, 20, "RGB", "JPEG")
    assert (row.linf_levels, row.epsilon, row.signature, row.generator, row.recipe) == (4, 6, "5ig", "tiny", "quick")
    assert row.psnr == pytest.approx(20 * np.log10(255 / 4))
    assert row.l1 == pytest.approx(0.4)
    assert row.l2 == pytest.approx(0.13)
    assert row.disrupted == 1
    assert row.seconds == 1.5


def test_a_file_farther_than_epsilon_from_the_photo_is_never_written(tmp_path: Path) -> None:
    (row,) = write(tmp_path, work(change=7))
    assert (row.status, row.stage) == ("failed", "verify")
    assert row.reason == "the file is 7 levels from the photo, more than epsilon 6"
    assert not (tmp_path / "a.png").exists()


def test_an_input_that_ended_keeps_its_row_and_gets_the_runs_facts(tmp_path: Path) -> None:
    ended = Work(
        PhotoRef("x.jpg", "x.jpg", 3), "x.png", data=b"bad", ended=ManifestRow.failed("x.jpg", stage="decode", reason="why")
    )
    (row,) = write(tmp_path, ended)
    assert (row.status, row.stage, row.reason) == ("failed", "decode", "why")
    assert row.sha256_in == hashlib.sha256(b"bad").hexdigest()
    assert (row.signature, row.epsilon, row.output) == ("5ig", 6, None)


def test_an_input_without_a_result_fails_instead_of_disappearing(tmp_path: Path) -> None:
    (row,) = write(tmp_path, work(effect=None))
    assert (row.status, row.stage) == ("failed", "protect")


def test_a_full_disk_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Folder, name: str, data: bytes, *, sync: bool) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Folder, "write", full)
    with pytest.raises(LedgerError, match="no space left"):
        write(tmp_path, work())


def test_a_name_that_cannot_be_written_fails_that_photo_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    blocked, fine = write(tmp_path, work("a.jpg"), work("b.jpg"))
    assert (blocked.status, blocked.stage) == ("failed", "write")
    assert "cannot be written" in (blocked.reason or "")
    assert fine.status == "protected"


def test_a_weak_disruption_is_written_and_said_to_be_weak(tmp_path: Path) -> None:
    weak = dataclasses.replace(STRONG, l2=[0.01, 0.2])
    (row,) = write(tmp_path, work(effect=weak))
    assert (row.status, row.stage, row.disrupted) == ("not_disrupted", "protect", 0.5)
    assert row.reason == "L2 below 0.05 for Smile"
    assert (tmp_path / "a.png").exists()


def test_an_output_of_another_tone_alone_is_not_disrupted(tmp_path: Path) -> None:
    faint = dataclasses.replace(STRONG, lost=[0.4, 0.29])
    (row,) = write(tmp_path, work(effect=faint))
    assert (row.status, row.stage, row.disrupted, row.visible) == ("not_disrupted", "protect", 1.0, 0.5)
    assert row.reason is not None and row.reason.endswith("for Glasses")
    assert verdict(dataclasses.replace(STRONG, lost=[0.4, float("nan")]))[0] == "not_disrupted"


def test_the_thresholds_themselves_count_as_broken() -> None:
    assert verdict(dataclasses.replace(STRONG, l2=[0.05, 0.2], lost=[LOST, 1.0])) == ("protected", None)


def test_a_value_that_is_no_number_is_not_disrupted() -> None:
    assert verdict(dataclasses.replace(STRONG, l2=[float("nan"), 0.2]))[0] == "not_disrupted"


def test_what_did_not_move_is_not_disrupted_whatever_it_measures() -> None:
    status, reason = verdict(dataclasses.replace(STRONG, moved=False))
    assert status == "not_disrupted"
    assert reason is not None
    assert "start from jitter or uniform" in reason


def test_many_weak_classes_are_named_shortly() -> None:
    names = [f"c{i}" for i in range(8)]
    none = [0.0] * 8
    assert verdict(Effect(names, none, none, moved=True, lost=none))[1] == "L2 below 0.05 for c0, c1, c2, c3, c4 and 3 more"
