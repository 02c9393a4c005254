"""Weights in and out: files of ONNX and of Keras, read without running any code of theirs."""

from engine.exchange.keras_read import import_keras as import_keras
from engine.exchange.keras_write import export_keras as export_keras
from engine.exchange.onnx_read import import_onnx as import_onnx
from engine.exchange.onnx_write import export_onnx as export_onnx

__all__ = ["export_keras", "export_onnx", "import_keras", "import_onnx"]
