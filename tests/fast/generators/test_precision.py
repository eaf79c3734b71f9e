"""--precision auto: bf16 where the hardware has it and a probe finds it faster, chosen once and before the signature."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pipeline.generators.generator import Generator
from pipeline.generators.precision import Precision, choose_precision, has_bf16, seconds_of_pass
from pipeline.protection.job import prepare
from pipeline.protection.options import ProtectConfig
from tests.fast.runs import files, run
from tests.fast.tiny import BUILD, build, build_other, photo_folder
from tests.verbs import with_options

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen"), [(1.0, 0.5, "bf16"), (1.0, 0.8, "bf16"), (1.0, 0.81, "fp32"), (1.0, 4.0, "fp32")]
)
def test_the_precision_is_bf16_where_a_pass_is_a_quarter_faster(fp32: float, bf16: float, chosen: str) -> None:
    asked: list[str] = []

    def seconds(generators: Sequence[Generator], precision: Precision, device: torch.device) -> float:
        asked.append(precision)
        return {"fp32": fp32, "bf16": bf16}[precision]

    assert choose_precision([build()], CPU, in_hardware=lambda device: True, seconds=seconds)[0] == chosen
    assert asked == ["fp32", "bf16"]


def test_where_the_hardware_has_no_bf16_nothing_is_timed() -> None:
    def seconds(generators: Sequence[Generator], precision: Precision, device: torch.device) -> float:
        raise AssertionError

    assert choose_precision([build()], CPU, in_hardware=lambda device: False, seconds=seconds)[0] == "fp32"


def test_a_probe_ends_after_its_time_and_leaves_no_gradient_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    generators, clock = [build(), build_other()], iter(range(1000))
    monkeypatch.setattr("pipeline.generators.precision.time.perf_counter", lambda: 0.1 * next(clock))
    for precision in ("fp32", "bf16"):
        before = next(clock)
        assert seconds_of_pass(generators, precision, CPU) == pytest.approx(0.1)
        assert next(clock) - before < 12  # two looks at the clock a pass and one between passes, a tenth of a second each
    assert not any(weight.requires_grad or weight.grad is not None for one in generators for weight in one.net.parameters())


@pytest.mark.parametrize("chosen", ["fp32", "bf16"])
def test_a_run_with_auto_is_the_run_with_what_it_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    monkeypatch.setattr("pipeline.generators.precision.choose_precision", lambda generators, device: (chosen, "a test says so"))
    config = ProtectConfig(str(photo_folder(tmp_path / "in")), str(tmp_path / "out"), generator=(BUILD,))
    auto, plain = (prepare(with_options(config, precision=name)) for name in ("auto", chosen))
    assert (auto.config, auto.signature) == (plain.config, plain.signature)
    assert len(auto.notes) == len(plain.notes) + 1


@pytest.mark.skipif(has_bf16(CPU), reason="this processor has bf16, so auto may choose it")
def test_without_bf16_in_hardware_auto_writes_the_files_of_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.protection.run.write_report", lambda *arguments, **options: "")
    photos = photo_folder(tmp_path / "in")
    codes = [run(photos, tmp_path / name, "--precision", name) for name in ("auto", "fp32")]
    assert codes[0] == codes[1]
    assert files(tmp_path / "auto") == files(tmp_path / "fp32")
