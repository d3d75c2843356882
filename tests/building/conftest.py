"""What engines are built from and with: the model that ships, and TensorRT-RTX."""

import pytest
from builds import MODEL

from gpsr_deploy.backends import flavours
from gpsr_deploy.model_files import onnx as onnx_file


@pytest.fixture(scope="session")
def trt():
    """TensorRT-RTX as it is installed."""
    return flavours.module_of("tensorrt-rtx")


@pytest.fixture(scope="session")
def model():
    """The model that ships."""
    return onnx_file.read(MODEL)
