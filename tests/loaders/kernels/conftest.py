"""What tests of the kernels share."""

import pytest

from tests.loaders.kernels.interpreter import Interpreter


@pytest.fixture(scope="session")
def interpreted():
    """Kernels under Triton's interpreter."""
    interpreter = Interpreter()
    yield interpreter
    interpreter.close()
