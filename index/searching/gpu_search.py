"""Proposes the nearest rows of a FAISS flat index on a GPU, where faiss-gpu is installed."""

import functools
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

MAX_K = 2048
"""The most neighbours that FAISS selects on a GPU."""

SCRATCH = 256 << 20
"""Bytes of GPU memory that FAISS may keep for itself; its own default is 1.5 GB."""

_TRIAL = """
import faiss, numpy
few = numpy.eye(8, dtype="float32")
flat = faiss.IndexFlatIP(8)
flat.add(few)
for number in range(faiss.get_num_gpus()):
    faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), number, flat).search(few, 1)
"""
_TRIAL_SECONDS = 120.0  # a new driver may compile the kernels first


class GpuSearch:
    """A flat index on one GPU, or in parts on several; thread-safe, one search at a time.

    It proposes rows in float32; whoever asks computes the cosines again, so that the answer is the
    CPU's. The copy does not follow later changes of the index.
    """

    def __init__(self, faiss: Any, flat: Any) -> None:
        # They must live as long as the copy.
        self._resources = [faiss.StandardGpuResources() for _ in range(faiss.get_num_gpus())]
        for resources in self._resources:
            resources.setTempMemory(SCRATCH)
        if len(self._resources) == 1:
            self._index = faiss.index_cpu_to_gpu(self._resources[0], 0, flat)
        else:
            options = faiss.GpuMultipleClonerOptions()
            options.shard = True  # each GPU holds a part: its own copy would be the default
            self._index = faiss.index_cpu_to_gpu_multiple_py(self._resources, flat, options)
        self._one_at_a_time = threading.Lock()  # FAISS's GPU indexes are not thread-safe

    def rows(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64] | None:
        """Propose the nearest rows.

        Args:
            queries: Array of shape (Q, D), float32, unit length.
            k: Rows wanted, at most the size of the index.

        Returns:
            Array of shape (Q, k), int64; None where the GPU cannot: the CPU must search.
        """
        if k > MAX_K:
            return None
        try:
            with self._one_at_a_time:
                _, rows = self._index.search(np.ascontiguousarray(queries), k)
        except RuntimeError as error:  # no memory left on the device, or the device is gone
            _LOG.warning("FAISS cannot search on the GPU (%s): searching on the CPU", error)
            return None
        found: NDArray[np.int64] = rows
        return found if (found >= 0).all() else None


@functools.cache
def try_elsewhere() -> str:
    """Search on every GPU in a process that may be lost: what FAISS cannot do there ends it.

    (1.14.1 of faiss-gpu-cu12 on an H100: "no kernel image is available", and an abort.)

    Returns:
        Why it cannot; empty where it can. Asked once in a process.
    """
    command = [sys.executable, "-P", "-c", _TRIAL]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRIAL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if not done.returncode:
        return ""
    said = [line for line in done.stderr.splitlines() if "CUDA" in line or "Error" in line]
    return said[0][-200:] if said else f"a trial ended with {done.returncode}"


def gpu_search(faiss: Any, flat: Any, trial: Callable[[], str] = try_elsewhere) -> GpuSearch | None:
    """Copy a flat index to the GPU, or spread it over all that there are.

    Args:
        faiss: The module, faiss-cpu's or faiss-gpu's.
        flat: An ``IndexFlatIP``.
        trial: Says why FAISS cannot search on the GPUs; nothing if it can.

    Returns:
        None where the module has no GPU part, there is no GPU, FAISS has no kernels for it, or its
        memory does not suffice.
    """
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return None
    if reason := trial():
        _LOG.warning("FAISS cannot search on this GPU (%s): searching on the CPU", reason)
        return None
    try:
        return GpuSearch(faiss, flat)
    except RuntimeError as error:
        _LOG.warning("cannot copy the index to the GPU (%s): searching on the CPU", error)
        return None
