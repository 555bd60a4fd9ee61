"""Whether a device can run the kernels. Standard library only, as the doctor asks where packages are missing."""

import os
import shutil
from importlib.util import find_spec


def obstacle(device_type: str) -> str | None:
    """Why a device ("cuda", "cpu", ...) cannot run the kernels; None if it can: a GPU, or any under Triton's
    interpreter."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device_type != "cuda" and not interpreted:
        return "they need a GPU"
    if find_spec("triton") is None:
        return "Triton is not installed"
    if not (interpreted or os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton finds no C compiler: install gcc"
    return None
