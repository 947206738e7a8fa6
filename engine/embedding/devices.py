"""Which device a command computes on, told without PyTorch where that is possible."""

import ctypes
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

from ..errors import DeviceError
from .config import Device, Place, Precision

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def resolve_device(device: Device) -> Place:
    """Choose the device.

    Raises:
        DeviceError: CUDA is asked for and not there.
    """
    if device == "cpu" or (device == "auto" and not _gpu_is_possible()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise DeviceError(
            "no CUDA device is available",
            "use --device cpu, or install a CUDA build of torch and its driver",
        )
    return "cpu"


def require_precision(device: Place, precision: Precision) -> None:
    """Refuse a precision that a device cannot compute in.

    Raises:
        DeviceError: ``float16`` on the CPU, or ``bfloat16`` on a GPU without it.
    """
    if precision == "float16" and device == "cpu":
        raise DeviceError("float16 is for CUDA alone", "use --precision bfloat16 or float32")
    if precision == "bfloat16" and device == "cuda":
        import torch

        if not torch.cuda.is_bf16_supported():
            raise DeviceError("this GPU has no bfloat16", "use --precision float16 or float32")


def _gpu_is_possible() -> bool:
    """Whether PyTorch could find a GPU: it is built for one, and the driver is installed."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return True  # whoever loads it will say what is wrong
    try:
        built = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
        if built["cuda"] is None:
            return built.get("hip") is not None
    except (OSError, KeyError, SyntaxError):
        return True
    try:
        ctypes.CDLL(_DRIVER)
    except OSError:
        return False
    return True
