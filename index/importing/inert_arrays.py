"""Plain numpy arrays, scalars and dtypes from the arguments that a pickle states for them.

The half of :mod:`~code_forensics.index.importing.inert_pickle` that knows numpy; every argument is
hostile.
"""

import math
import re
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..errors import FileFormatError

MAX_SCALAR_BYTES = 256
REFUSED: Final = (
    "Only files that scikit-learn wrote for a k-nearest-neighbour, logistic regression or "
    "one-class SVM classifier with plain numpy arrays are read; do not load others with pickle."
)


_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|[US][1-9][0-9]{0,3}")


@dataclass(slots=True, eq=False)
class PickledDtype:
    """A dtype under construction: numpy pickles kind and size first, the byte order after."""

    dtype: np.dtype[np.generic]


@dataclass(slots=True, eq=False)
class PickledArray:
    """An array that numpy pickled, before and after its state is known."""

    array: np.ndarray | None = None


def make_dtype(args: tuple[object, ...]) -> PickledDtype:
    """``numpy.dtype(name, align, copy)``, for bools, numbers and fixed-width text."""
    name = args[0] if args else None
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        shown = ascii(name[:40])[:40] if isinstance(name, str) else "of a pickle"
        hint = "labels have to be numbers or fixed-width text, not Python objects"
        raise FileFormatError(f"refused the array type {shown}", hint)
    return PickledDtype(np.dtype(name))


def with_byte_order(dtype: np.dtype[np.generic], state: tuple[object, ...]) -> np.dtype[np.generic]:
    """The dtype after its pickled state, of which only the byte order may matter."""
    # (version, byte order, subarray, names, fields, item size, alignment, flags, ...)
    order = state[1]
    if not isinstance(order, str) or order not in "<>|" or any(s is not None for s in state[2:5]):
        raise FileFormatError("refused a structured array type in a pickle", REFUSED)
    if order == "<":
        return dtype.newbyteorder("<")
    return dtype.newbyteorder(">") if order == ">" else dtype


def dtype_of(value: object) -> np.dtype[np.generic]:
    """The dtype behind a pickled value."""
    if not isinstance(value, PickledDtype):
        raise FileFormatError("damaged pickle: an array without a type")
    return value.dtype


def shape_of(value: object) -> tuple[int, ...]:
    """The shape behind a pickled value; at most eight sides, none negative."""
    if not isinstance(value, tuple) or len(value) > 8:
        raise FileFormatError("damaged pickle: an array without a shape")
    sides = [side for side in value if isinstance(side, int) and 0 <= side < 1 << 48]
    if len(sides) != len(value):
        raise FileFormatError("damaged pickle: an array without a shape")
    return tuple(sides)


def view(
    raw: bytes | memoryview, shape: tuple[int, ...], dtype: np.dtype[np.generic], fortran: bool
) -> np.ndarray:
    """A read-only view of the bytes; their number has to fit exactly."""
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise FileFormatError("damaged pickle: the array's bytes do not fit its shape")
    array = np.ndarray(shape, dtype, raw, order="F" if fortran else "C")
    if dtype.kind == "U" and not _is_unicode(raw, dtype):
        raise FileFormatError("damaged pickle: an array of text holds no characters")
    array.flags.writeable = False
    return array


def _is_unicode(raw: bytes | memoryview, dtype: np.dtype[np.generic]) -> bool:
    """Whether numpy's text, four bytes a character, is one: Python refuses to make what is not."""
    codes = np.frombuffer(raw, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
    return not len(codes) or int(codes.max()) <= sys.maxunicode


def array_of_state(state: tuple[object, ...]) -> np.ndarray:
    """The array of ``ndarray.__setstate__``: (version, shape, dtype, is Fortran, bytes)."""
    _, shape, dtype, fortran, raw = state
    if not isinstance(raw, bytes):
        raise FileFormatError("refused an array of Python objects in a pickle", REFUSED)
    return view(raw, shape_of(shape), dtype_of(dtype), fortran is True)


def array_of_buffer(args: tuple[object, ...]) -> np.ndarray:
    """The array of protocol 5's ``_frombuffer(bytes, dtype, shape, order)``."""
    raw, dtype, shape, order = args
    if not isinstance(raw, bytes):
        raise FileFormatError("refused an array outside of its pickle", REFUSED)
    return view(raw, shape_of(shape), dtype_of(dtype), isinstance(order, str) and order == "F")


def make_scalar(args: tuple[object, ...]) -> object:
    """The Python value of ``numpy.core.multiarray.scalar(dtype, bytes)``."""
    dtype, raw = args
    if not isinstance(raw, bytes) or len(raw) > MAX_SCALAR_BYTES:
        raise FileFormatError("refused a scalar in a pickle", REFUSED)
    return view(raw, (), dtype_of(dtype), fortran=False).item()
