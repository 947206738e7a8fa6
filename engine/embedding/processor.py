"""What the processor is, told without PyTorch: what it multiplies well, how it could round."""

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

from .config import Place

_LISTED = Path("/proc/cpuinfo")
_FEATURES = ("flags", "Features")  # on x86, on Arm
_LIMITS = (
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "MKL_CBWR"),
)
"""Variables of the environment by which PyTorch's libraries use less, or something else."""


def has_amx() -> bool:
    """Whether the processor has AMX for bfloat16, as far as the system says, and nothing limits it.

    Where this is false, PyTorch may know more.
    """
    return "amx_bf16" in _told()[1].split() and not _limits()


def rounding_of(device: Place, precision: str) -> str:
    """What the vectors' rounding could depend on beside the weights, in words that may be a key.

    On the CPU all that the system says of the processor, which is more than it does depend on. On a
    GPU PyTorch is loaded for it.
    """
    if device == "cuda":
        import torch

        unit = torch.cuda.get_device_name(device)
    else:
        name, features = _told()
        digest = hashlib.sha256(f"{features}; {_limits()}".encode()).hexdigest()[:16]
        unit = f"{name}, {digest}"
    return f"{precision}; torch {importlib.metadata.version('torch')}; {device}: {unit}"


def _told() -> tuple[str, str]:
    """Name and features of the processor; the first one's, as a machine has one kind."""
    try:
        first = _LISTED.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine(), platform.version()
    fields = dict(line.split(":", 1) for line in first.splitlines() if ":" in line)
    told = {name.strip(): value.strip() for name, value in fields.items()}
    features = next((told[name] for name in _FEATURES if name in told), "")
    return told.get("model name", platform.machine()), features


def _limits() -> str:
    return " ".join(f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ)
