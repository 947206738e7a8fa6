"""Proposes the nearest rows of a FAISS flat index on a GPU, where faiss-gpu is installed."""

import logging
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

MAX_K = 2048
"""The most neighbours that FAISS selects on a GPU."""

SCRATCH = 256 << 20
"""Bytes of GPU memory that FAISS may keep for itself; its own default is 1.5 GB."""


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


def gpu_search(faiss: Any, flat: Any) -> GpuSearch | None:
    """Copy a flat index to the GPU, or spread it over all that there are.

    Args:
        faiss: The module, faiss-cpu's or faiss-gpu's.
        flat: An ``IndexFlatIP``.

    Returns:
        None where the module has no GPU part, there is no GPU, or its memory does not suffice.
    """
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return None
    try:
        return GpuSearch(faiss, flat)
    except RuntimeError as error:
        _LOG.warning("cannot copy the index to the GPU (%s): searching on the CPU", error)
        return None
