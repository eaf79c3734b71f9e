from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pipeline.generators.checkpoint import CheckpointError, save_weights
from pipeline.generators.cyclegan import CycleGANGenerator
from pipeline.generators.ganimation import GANimationGenerator
from pipeline.generators.generator import UnknownClassError, UnknownLayerError, fingerprint_of
from pipeline.generators.multistyle import MultistyleGenerator
from pipeline.generators.stargan import StarGANGenerator
from pipeline.generators.zoo import ZOO, GeneratorError, load_generator
from tests.fast.tiny import BUILD, build, build_other

NETS = {
    "stargan": StarGANGenerator(4, 5, 1),
    "ganimation": GANimationGenerator(4, 17, 1),
    "cyclegan": CycleGANGenerator(ngf=2),
    "multistyle": MultistyleGenerator(),
    "vintagify": CycleGANGenerator(ngf=2, affine=True),
}


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_a_row_with_weights_is_a_frozen_generator_of_images(name: str, tmp_path: Path) -> None:
    torch.save(NETS[name].state_dict(), tmp_path / "w.pt")
    generator = load_generator(name, weights=tmp_path / "w.pt")
    assert not any(p.requires_grad for p in generator.net.parameters())
    assert list(generator.classes) == list(ZOO[name].classes)
    assert generator.size == ZOO[name].size
    for class_name in list(generator.classes)[:2]:
        y = generator(torch.rand(2, 3, 32, 32) * 2 - 1, class_name)
        assert y.shape == (2, 3, 32, 32)
        assert y.abs().max() <= 1


def test_the_blocks_of_vintagify_have_another_name_in_its_file(tmp_path: Path) -> None:
    state = NETS["vintagify"].state_dict()
    torch.save({key.replace("conv_block", "block"): tensor for key, tensor in state.items()}, tmp_path / "w.pth")
    loaded = load_generator("vintagify", weights=tmp_path / "w.pth").net.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize("name", ["stargan-faces", "stargan-portraits", "stargan-sharp", "stargan-sharp-hardened"])
@torch.no_grad()
def test_classes_of_the_shipped_generators_give_different_pictures_of_the_same_photo(name: str) -> None:
    generator = load_generator(name)
    assert len(generator.classes) >= 2
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    outputs = [generator(x, one) for one in generator.classes]
    assert all((a - b).abs().max() > 0.01 for i, a in enumerate(outputs) for b in outputs[:i])


def test_every_row_of_the_table_says_what_it_is() -> None:
    assert all(row.about for row in ZOO.values())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("startgan", "did you mean stargan?"),
        ("xyz", "known: stargan-faces"),
        ("stargan", "give the released file with --weights FILE"),
        ("no_such_module:build", "cannot import 'no_such_module'"),
        ("tests.fast.tiny:nothing", "no function 'nothing'"),
        ("tests.fast.tiny:", "no function ''"),
        ("tests.fast.tiny:CLASSES", "no function 'CLASSES'"),
        ("tests.fast.tiny:not_a_generator", "returned str; it must return a pipeline.generators.generator.Generator"),
        ("tests.fast.tiny:build_without_classes", "returned a generator without classes"),
        ("..tiny:build", "or my_module:build"),
        (":build", "or my_module:build"),
    ],
)
def test_a_generator_that_cannot_be_had_is_refused_with_the_fix(name: str, message: str) -> None:
    with pytest.raises(GeneratorError) as refusal:
        load_generator(name)
    assert message in str(refusal.value)


def test_weights_that_do_not_fit_the_row_are_refused(tmp_path: Path) -> None:
    torch.save(NETS["cyclegan"].state_dict(), tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="missing"):
        load_generator("stargan", weights=tmp_path / "w.pt")


def test_weights_with_another_number_of_attributes_ask_for_a_builder(tmp_path: Path) -> None:
    torch.save(StarGANGenerator(4, 3, 1).state_dict(), tmp_path / "w.pt")
    with pytest.raises(GeneratorError, match=r"conditions of 3 values.*my_module:build"):
        load_generator("stargan", weights=tmp_path / "w.pt")


def test_a_users_own_builder_is_called() -> None:
    assert load_generator(BUILD).fingerprint == build().fingerprint


def test_a_users_module_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_net.py").write_text("from tests.fast.tiny import build_other as make\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    assert load_generator("my_own_net:make").name == "other"


def test_the_same_generator_has_the_same_fingerprint_and_other_weights_another() -> None:
    assert build().fingerprint == build().fingerprint != build_other().fingerprint
    assert fingerprint_of(build().net) == fingerprint_of(build().net)
    changed = build()
    next(changed.net.parameters()).data[0, 0, 0, 0] += 1e-6
    assert fingerprint_of(changed.net) != fingerprint_of(build().net)
    assert fingerprint_of(build().net.bfloat16()) != fingerprint_of(build().net)


def test_generators_of_the_same_weights_and_other_outputs_have_fingerprints_of_their_own(tmp_path: Path) -> None:
    classes = {"Smile": (1.0, 0.0), "Glasses": (0.0, 1.0)}
    cards: list[dict[str, str]] = [
        {"classes": json.dumps(classes)},
        {"classes": json.dumps(classes | {"Smile": (0.5, 0.0)})},
        {"classes": json.dumps({"Grin": (1.0, 0.0), "Glasses": (0.0, 1.0)})},
        {"classes": json.dumps(dict(reversed(classes.items())))},
        {"classes": json.dumps(classes), "blur": "1.5"},
        {"classes": json.dumps(classes), "blur": "2"},
        {"classes": json.dumps(classes), "size": "64"},
    ]
    fingerprints = []
    for card in [*cards, cards[0]]:
        save_weights(build().net, tmp_path / "w.safetensors", metadata=card)
        fingerprints.append(load_generator("stargan", weights=tmp_path / "w.safetensors").fingerprint)
    assert len(set(fingerprints)) == len(cards)
    assert fingerprints[0] == fingerprints[-1]


def test_an_unknown_class_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownClassError, match="did you mean Glasses"):
        build().select_classes(["Glases"])
    assert build().select_classes([]) == ("Smile", "Glasses")
    assert build().select_classes(["Glasses"]) == ("Glasses",)


def test_an_unknown_layer_is_refused_with_near_ones() -> None:
    with pytest.raises(UnknownLayerError, match=r"layer 'main\.99' is unknown; did you mean main"):
        build().features("Smile", "main.99")


@torch.no_grad()
def test_a_layer_gives_its_activation_as_it_is_before_the_next_layer_changes_it() -> None:
    generator, x = build(), torch.rand(1, 3, 16, 16)
    activation = generator.features("Smile", "main.1")(x)
    assert activation.shape == (1, 4, 16, 16)
    assert activation.min() < 0  # the rectifier that follows works in place
    assert not generator.net.main[1]._forward_hooks  # type: ignore[index, union-attr]


@pytest.mark.parametrize("name", ZOO)
def test_no_two_classes_of_a_row_have_the_same_condition(name: str) -> None:
    conditions = [c for c in ZOO[name].classes.values() if c]
    assert len(set(conditions)) == len(conditions)
