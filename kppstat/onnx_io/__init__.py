"""ONNX files in and out: load, check, normalise, and write weights back."""

from kppstat.onnx_io.image import Image
from kppstat.onnx_io.load import load
from kppstat.onnx_io.model import Model
from kppstat.onnx_io.save import save

__all__ = ["Image", "Model", "load", "save"]
