"""The interface of all generators: images in [-1, 1] and a class by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline import unknown_name
from pipeline.images.blur import input_blurs

TOGETHER = 2**18
"""Most pixels of images that are translated to several classes at once: 64 images of 64 px, 4 of 256 px."""

Translate = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(net, images (B, C, H, W), conditions (B, K), one an image) -> images (B, 3, H, W)."""


def conditional(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
    """net(x, c)."""
    y_BCHW: Tensor = net(x_BCHW, c_BK)
    return y_BCHW


def unconditional(net: nn.Module, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
    """net(x): the class carries no condition."""
    y_BCHW: Tensor = net(x_BCHW)
    return y_BCHW


def fingerprint_of(net: nn.Module) -> str:
    """SHA-256 over the weights (names, types, shapes, values) and the blur before the net, as 16 hex digits."""
    digest = hashlib.sha256(json.dumps(input_blurs(net)).encode())
    for key, tensor in sorted(net.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class UnknownClassError(ValueError):
    """A class the generator does not have; the message lists those that it has."""


class UnknownLayerError(ValueError):
    """A layer the generator's net does not have; the message lists those that it has."""


class _LayerReachedError(Exception):
    """Ends a translation of which only the activation of a layer is wanted."""


@dataclass(frozen=True)
class Generator:
    """A frozen image-translation network with its classes by name.

    ``classes`` maps each name to its condition vector (K numbers, none for an unconditional net). ``size`` is the native side
    in pixels. ``fingerprint`` is given as what identifies the net (see `fingerprint_of`) and becomes what identifies the outputs:
    classes, size and name of the translation count too. ``origin`` is for reports, ``notes`` are sentences that a run shows once,
    ``faces`` says that it works on crops of faces.
    """

    name: str
    net: nn.Module
    classes: Mapping[str, tuple[float, ...]]
    size: int
    fingerprint: str
    translate: Translate = conditional
    origin: str = ""
    notes: tuple[str, ...] = ()
    faces: bool = False

    def __post_init__(self) -> None:
        self.net.requires_grad_(False)
        self.net.eval()
        translation = getattr(self.translate, "__qualname__", type(self.translate).__qualname__)
        classes = [(name, [float(value) for value in condition]) for name, condition in self.classes.items()]
        facts = [self.fingerprint, classes, self.size, translation]
        object.__setattr__(self, "fingerprint", hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16])

    def __call__(self, x_BCHW: Tensor, class_name: str) -> Tensor:
        """The translation of images (B, 3, H, W) in [-1, 1] to a class, same shape and range."""
        c_BK = torch.tensor([self.classes[class_name]], dtype=x_BCHW.dtype, device=x_BCHW.device).expand(len(x_BCHW), -1)
        return self.translate(self.net, x_BCHW, c_BK)

    def of(self, x_NCHW: Tensor, class_names: Sequence[str]) -> Tensor:
        """The translation of each image to a class of its own (N, 3, H, W), computed together up to `TOGETHER` pixels."""
        c_NK = torch.tensor([self.classes[name] for name in class_names], dtype=x_NCHW.dtype, device=x_NCHW.device)
        most = max(1, TOGETHER // max(1, x_NCHW[:, 0].numel() // max(1, len(x_NCHW))))
        parts = [self.translate(self.net, x, c) for x, c in zip(x_NCHW.split(most), c_NK.split(most), strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def each(self, x_BCHW: Tensor, class_names: Sequence[str]) -> Tensor:
        """The translations of images to several classes, (K, B, 3, H, W)."""
        names = [name for name in class_names for _ in range(len(x_BCHW))]
        y_KBCHW: Tensor = self.of(x_BCHW.repeat(len(class_names), 1, 1, 1), names).unflatten(0, (len(class_names), -1))
        return y_KBCHW

    def output(self, class_name: str) -> Callable[[Tensor], Tensor]:
        """The translation to one class as a function of images."""
        return lambda x_BCHW: self(x_BCHW, class_name)

    def features(self, class_name: str, layer: str) -> Callable[[Tensor], Tensor]:
        """The activation of a named module while translating to a class, as a function of images.

        The net is left as soon as the module has been called as often as in the first, whole translation. Raises
        UnknownLayerError when the net has no such module.
        """
        modules = dict(self.net.named_modules())
        if layer not in modules:
            raise UnknownLayerError(unknown_name(f"{self.name}: layer", layer, filter(None, modules)))

        calls = 0

        def activation(x_BCHW: Tensor) -> Tensor:
            nonlocal calls
            activations: list[Tensor] = []

            def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
                activations.append(output.clone())
                if len(activations) == calls:
                    raise _LayerReachedError

            handle = modules[layer].register_forward_hook(keep)
            try:
                self(x_BCHW, class_name)
            except _LayerReachedError:
                pass
            finally:
                handle.remove()
            calls = len(activations)
            return activations[-1]

        return activation

    def select_classes(self, names: Sequence[str]) -> tuple[str, ...]:
        """These class names, or all of them for none; raises UnknownClassError with the nearest name."""
        for name in names:
            if name not in self.classes:
                raise UnknownClassError(unknown_name(f"{self.name}: class", name, self.classes))
        return tuple(names) or tuple(self.classes)

    def to(self, device: torch.device) -> Generator:
        """Move the net in place to a device; returns self."""
        self.net.to(device)
        return self
