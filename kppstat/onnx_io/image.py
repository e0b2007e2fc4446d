"""What onnxruntime runs: the model, in a form in which weights can be replaced without serialising it again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from onnx import ModelProto

from kppstat.onnx_io.bytes_image import BytesImage
from kppstat.onnx_io.file_image import FileImage

Image = BytesImage | FileImage
LIMIT = 2**31 - 2**24  # bytes of constants that fit into one message of protobuf, with room for the graph


def image_of(skeleton: ModelProto, constants: Mapping[str, np.ndarray], weights: Collection[str]) -> Image:
    """Return the image of a skeleton with its constants, of which those named as `weights` can be replaced."""
    size = sum(v.nbytes for v in constants.values())
    kind = BytesImage if size < LIMIT else FileImage
    return kind(skeleton, constants, frozenset(weights))
