"""The nets reproduce recorded outputs of the reference architectures (randomly initialised, narrow) to 1e-5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.generators.checkpoint import load_weights, read_state_dict
from pipeline.generators.cyclegan import cyclegan_from_state
from pipeline.generators.layers import with_condition
from pipeline.generators.stargan import StarGANDiscriminator, StarGANGenerator, stargan_from_state
from pipeline.generators.zoo import load_generator
from tests.fast.generators.spellings import SPELLINGS


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def recorded(shared: Path, name: str) -> dict[str, Any]:
    payload: dict[str, Any] = torch.load(shared / "golden" / f"{name}.pt", weights_only=True)
    return payload


@pytest.fixture
def stargan(shared: Path) -> tuple[StarGANGenerator, dict[str, Any]]:
    return stargan_from_state(read_state_dict(shared / "golden" / "stargan.pt")), recorded(shared, "stargan")


@torch.no_grad()
def test_stargan_gives_the_recorded_image_in_training_and_in_use(stargan: tuple[StarGANGenerator, dict[str, Any]]) -> None:
    net, golden = stargan
    for mode in (True, False):
        assert_close(net.train(mode)(golden["input"], golden["c"]), golden["output_train_mode"])
    assert (golden["output_eval_mode"] - golden["output_train_mode"]).abs().max() > 0.9  # running statistics: another image


@torch.no_grad()
def test_stargan_gives_the_recorded_image_of_a_blurred_photo(stargan: tuple[StarGANGenerator, dict[str, Any]]) -> None:
    net, golden = stargan
    y_BCHW = net(golden["blur_gauss_11_sigma1p5_of_input"], golden["c"])
    assert_close(y_BCHW, golden["output_blur_train_mode"])


@torch.no_grad()
def test_every_layer_of_stargan_has_the_recorded_norm(stargan: tuple[StarGANGenerator, dict[str, Any]]) -> None:
    net, golden = stargan
    h_BCHW: Tensor = with_condition(golden["input"], golden["c"])
    features = []
    for layer in net.main:
        h_BCHW = layer(h_BCHW)
        features.append(h_BCHW)
    # A norm layer's output is rectified in place by the next layer before the reference looks at it, and so it is here.
    norms = torch.stack([feature.norm() for feature in features])
    assert_close(norms, golden["feature_norms"])


@torch.no_grad()
def test_the_discriminator_of_stargan_gives_the_recorded_logits(shared: Path) -> None:
    golden = recorded(shared, "stargan_D")
    shape = json.loads((shared / "golden" / "stargan_D.json").read_text())["ctor"]
    net = StarGANDiscriminator(shape["image_size"], shape["conv_dim"], shape["c_dim"], shape["repeat_num"])
    load_weights(net, read_state_dict(shared / "golden" / "stargan_D.pt"), source="stargan_D.pt")
    patches, classes = net(golden["input"])
    assert_close(patches, golden["out_src"])
    assert_close(classes, golden["out_cls"])


@torch.no_grad()
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["stargan", "cyclegan"])
def test_the_reference_weights_under_other_names_give_the_recorded_image(
    shared: Path, tmp_path: Path, name: str, spelling: str
) -> None:
    golden = recorded(shared, name)
    torch.save({"state_dict": SPELLINGS[spelling](golden["state_dict"])}, tmp_path / "w.pth")
    net = load_generator(name, weights=tmp_path / "w.pth").net
    expected = golden["output_train_mode" if name == "stargan" else "output"]
    assert_close(net(golden["input"], golden["c"]) if name == "stargan" else net(golden["input"]), expected)


@torch.no_grad()
def test_cyclegan_gives_the_recorded_image(shared: Path) -> None:
    golden = recorded(shared, "cyclegan")
    net = cyclegan_from_state(read_state_dict(shared / "golden" / "cyclegan.pt"))
    assert_close(net(golden["input"]), golden["output"])
