"""ONNX files in and out: load, check, normalise, and write weights back."""

from kppstat.onnx_io.image import Image
from kppstat.onnx_io.load import load
from kppstat.onnx_io.model import Model

__all__ = ["Image", "Model", "load"]
