"""Reads the few pickle constructs that fitted estimators need, and executes nothing.

A pickle is a program; Python's own ``pickle`` runs it, and a restricted ``find_class`` still
calls whatever it lets through. This reader is a second, much smaller machine: it knows a list of
names, each bound here to a few lines that build plain data, and it never imports, looks up or
calls anything else. Every other name and opcode is refused.

Understood: protocols 2 to 5; None, bool, int, float, str, bytes, tuple, list, dict; numpy arrays,
scalars and dtypes of bools, numbers and text, pickled by numpy or streamed by joblib (0.10 and
later: an array's raw bytes follow its ``NumpyArrayWrapper`` inside of the pickle); and named
objects, which become :class:`Record` s of their attributes.

Memory is bounded by the input: arrays are views of it, other bytes are copied once, and each
opcode adds at most one reference. Time is bounded too: nothing read is hashed, compared or printed
before its type is known, since a small pickle can hold a tuple that takes for ever to hash.
Opcodes: CPython, ``Lib/pickletools.py``. Stream format: joblib, ``numpy_pickle.py``.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import numpy as np

from ..errors import FileFormatError
from .inert_arrays import (
    REFUSED,
    PickledArray,
    PickledDtype,
    array_of_buffer,
    array_of_state,
    dtype_of,
    make_dtype,
    make_scalar,
    shape_of,
    view,
    with_byte_order,
)

MAX_OPCODES = 20_000  # a fitted estimator takes a few hundred, as an array's data is one opcode
MAX_INT_BYTES = 16


_WRAPPER: Final = "joblib array"


class Maker(Enum):
    """What stands in for a global of the pickle: the only things that can be applied."""

    NDARRAY = auto()  # the class, where only its name matters
    DTYPE = auto()
    SCALAR = auto()
    RECONSTRUCT = auto()
    FROM_BUFFER = auto()
    BYTES = auto()
    ENCODE = auto()
    ARRAY_WRAPPER = auto()


_MAKERS: Final[Mapping[str, Maker]] = {
    "numpy ndarray": Maker.NDARRAY,
    "numpy memmap": Maker.NDARRAY,
    "numpy dtype": Maker.DTYPE,
    **{
        f"numpy.{core}.{name}": maker  # numpy 2 renamed its core package
        for core in ("core", "_core")
        for name, maker in (
            ("multiarray scalar", Maker.SCALAR),
            ("multiarray _reconstruct", Maker.RECONSTRUCT),
            ("numeric _frombuffer", Maker.FROM_BUFFER),
        )
    },
    "_codecs encode": Maker.ENCODE,  # how protocol 2 writes bytes, and below the empty ones
    "__builtin__ bytes": Maker.BYTES,
    "joblib.numpy_pickle NumpyArrayWrapper": Maker.ARRAY_WRAPPER,
    "sklearn.externals.joblib.numpy_pickle NumpyArrayWrapper": Maker.ARRAY_WRAPPER,
}


@dataclass(frozen=True, slots=True)
class RecordType:
    """A class that becomes a record; holds its short name."""

    name: str


@dataclass(slots=True, eq=False)
class Record:
    """An object of the pickle as inert data: the name of its class and its attributes."""

    name: str
    attributes: dict[object, object] = field(default_factory=dict)


class _Mark:
    """The bottom of a group of stack entries."""


_MARK: Final = _Mark()


def read_record(data: bytes, classes: Mapping[str, str]) -> Record:
    """The one object that a pickle holds.

    Args:
        data: The whole pickle, uncompressed.
        classes: Names of the classes that may occur, as ``"module name"``, each with the name
            that its records get.

    Returns:
        The outermost record. Its attributes are plain values, read-only arrays over ``data``,
        and further records.

    Raises:
        FileFormatError: The pickle is damaged, continues after its end, or uses anything that
            is not listed above.
    """
    machine = _Machine(data, classes)
    try:
        value = machine.run()
    except (IndexError, KeyError, struct.error, UnicodeDecodeError, TypeError, ValueError) as error:
        raise FileFormatError(f"damaged pickle near byte {machine.position}") from error
    if not isinstance(value, Record) or value.name == _WRAPPER:
        raise FileFormatError("the pickle holds no estimator")
    return value


class _Machine:
    """Interprets opcodes over one buffer."""

    def __init__(self, data: bytes, classes: Mapping[str, str]) -> None:
        self.data = data
        self.position = 0
        self.classes = classes
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}
        self.encoded = 0

    def run(self) -> object:
        for _ in range(MAX_OPCODES):
            opcode = self.take(1)[0]
            if opcode == 0x2E:  # STOP
                if self.position != len(self.data):
                    raise FileFormatError("the file continues after the end of its pickle")
                return _finished(self.stack.pop())
            step = _OPCODES.get(opcode)
            if step is None:
                raise FileFormatError(f"refused pickle opcode 0x{opcode:02x}", REFUSED)
            step(self)
        raise FileFormatError(f"refused a pickle of more than {MAX_OPCODES} opcodes", REFUSED)

    # Input

    def take(self, size: int) -> memoryview:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise FileFormatError("the file ends inside of its pickle")
        view = memoryview(self.data)[self.position : end]
        self.position = end
        return view

    def skip(self, size: int) -> None:
        self.take(size)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 256)
        if end < 0:
            raise FileFormatError("damaged pickle: a name without an end")
        text = bytes(self.take(end - self.position)).decode("utf-8")
        self.position += 1
        return text

    # Stack

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        value = self.stack.pop()
        if value is _MARK:
            raise FileFormatError("damaged pickle: misplaced mark")
        return value

    def drop(self) -> None:
        self.stack.pop()

    def pop_group(self) -> list[object]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:  # runs into IndexError where there is none
            if at == 0:
                raise FileFormatError("damaged pickle: missing mark")
            at -= 1
        group = self.stack[at + 1 :]
        del self.stack[at:]
        return group

    def pop_args(self) -> tuple[object, ...]:
        args = self.pop()
        if not isinstance(args, tuple):
            raise FileFormatError("damaged pickle: arguments are not a tuple")
        return args

    # Names and objects

    def find(self, module: object, name: object) -> None:
        key = f"{module} {name}" if isinstance(module, str) and isinstance(name, str) else ""
        if key in self.classes:
            self.push(RecordType(self.classes[key]))
        elif key in _MAKERS:
            self.push(_MAKERS[key])
        else:
            shown = ascii(key.replace(" ", ".")[:120])[:120]
            raise FileFormatError(f"refused the name {shown} in a pickle", REFUSED)

    def apply(self) -> None:
        args = self.pop_args()
        maker = self.pop()
        if maker is Maker.DTYPE:
            self.push(make_dtype(args))
        elif maker is Maker.SCALAR:
            self.push(make_scalar(args))
        elif maker is Maker.RECONSTRUCT and len(args) == 3 and args[0] is Maker.NDARRAY:
            self.push(PickledArray())
        elif maker is Maker.FROM_BUFFER:
            self.push(array_of_buffer(args))
        elif maker is Maker.BYTES and not args:
            self.push(b"")
        elif maker is Maker.ENCODE:
            self.push(self.encode(args))
        else:
            raise FileFormatError("refused a call in a pickle", REFUSED)

    def encode(self, args: tuple[object, ...]) -> bytes:
        text, encoding = args
        if not isinstance(text, str) or not isinstance(encoding, str) or encoding != "latin1":
            raise FileFormatError("refused an encoding in a pickle", REFUSED)
        self.encoded += len(text)
        if self.encoded > len(self.data):  # the same text over and over would fill the memory
            raise FileFormatError("refused a pickle that repeats its data", REFUSED)
        return text.encode("latin-1")

    def new_object(self) -> None:
        args = self.pop_args()
        if args:
            raise FileFormatError("refused constructor arguments in a pickle", REFUSED)
        self.push(_make_object(self.pop()))

    def build(self) -> None:
        state = self.pop()
        target = self.stack[-1]
        if isinstance(target, Record) and isinstance(state, dict) and not target.attributes:
            target.attributes = state
            if target.name == _WRAPPER:
                self.stack[-1] = self.read_streamed_array(target)
        elif isinstance(target, PickledDtype) and isinstance(state, tuple):
            target.dtype = with_byte_order(target.dtype, state)
        elif isinstance(target, PickledArray) and isinstance(state, tuple) and target.array is None:
            target.array = array_of_state(state)
        else:
            raise FileFormatError("refused an object state in a pickle", REFUSED)

    def read_streamed_array(self, wrapper: Record) -> np.ndarray:
        """The array whose bytes follow joblib's wrapper in the stream."""
        get = wrapper.attributes.get
        if get("subclass") is not Maker.NDARRAY:
            raise FileFormatError("refused a subclass of numpy arrays in a pickle", REFUSED)
        shape, dtype = shape_of(get("shape")), dtype_of(get("dtype"))
        if get("numpy_array_alignment_bytes") is not None:
            self.skip(self.number(1))  # padding, since joblib 1.2
        raw = self.take(math.prod(shape) * dtype.itemsize)
        order = get("order")
        return view(raw, shape, dtype, fortran=isinstance(order, str) and order == "F")

    # Stream, memo and containers

    def protocol(self) -> None:
        if not 2 <= self.number(1) <= 5:
            raise FileFormatError("refused a pickle of another protocol than 2 to 5", REFUSED)

    def drop_group(self) -> None:
        self.pop_group()

    def remember(self, index: int) -> None:
        if self.stack[-1] is _MARK:
            raise FileFormatError("damaged pickle: misplaced mark")
        self.memo[index] = self.stack[-1]

    def set_items(self, items: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise FileFormatError("damaged pickle: items without a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):  # a nested tuple could take forever to hash
                raise FileFormatError("refused a dict key in a pickle", REFUSED)
            target[key] = _finished(value)

    def append_items(self, items: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise FileFormatError("damaged pickle: items without a list")
        target.extend(_finished(item) for item in items)

    def push_tuple(self, size: int) -> None:
        items = [self.pop() for _ in range(size)][::-1]
        self.push(tuple(_finished(item) for item in items))

    def push_text(self, size: int) -> None:
        # A lone surrogate is legal in a pickle, so decode as pickle does.
        self.push(bytes(self.take(size)).decode("utf-8", "surrogatepass"))

    def push_long(self, size: int) -> None:
        if size > MAX_INT_BYTES:
            raise FileFormatError("refused a very long integer in a pickle", REFUSED)
        self.push(int.from_bytes(self.take(size), "little", signed=True))


def _finished(value: object) -> object:
    """The value itself, for arrays and dtypes that were built in steps."""
    if isinstance(value, PickledArray):
        if value.array is None:
            raise FileFormatError("damaged pickle: an array without data")
        return value.array
    return value


def _make_object(kind: object) -> Record:
    if kind is Maker.ARRAY_WRAPPER:
        return Record(_WRAPPER)
    if isinstance(kind, RecordType):
        return Record(kind.name)
    raise FileFormatError("refused an object in a pickle", REFUSED)


def _global(machine: _Machine) -> None:
    module = machine.line()
    machine.find(module, machine.line())


def _stack_global(machine: _Machine) -> None:
    name = machine.pop()
    machine.find(machine.pop(), name)


_OPCODES: Final[Mapping[int, Callable[[_Machine], None]]] = {
    0x80: lambda m: m.protocol(),  # PROTO
    0x95: lambda m: m.skip(8),  # FRAME: its length, of no use in one buffer
    0x28: lambda m: m.push(_MARK),  # MARK
    0x30: lambda m: m.drop(),  # POP
    0x31: lambda m: m.drop_group(),  # POP_MARK
    0x4E: lambda m: m.push(None),  # NONE
    0x88: lambda m: m.push(True),  # NEWTRUE
    0x89: lambda m: m.push(False),  # NEWFALSE
    0x4A: lambda m: m.push(struct.unpack("<i", m.take(4))[0]),  # BININT
    0x4B: lambda m: m.push(m.number(1)),  # BININT1
    0x4D: lambda m: m.push(m.number(2)),  # BININT2
    0x8A: lambda m: m.push_long(m.number(1)),  # LONG1
    0x8B: lambda m: m.push_long(m.number(4)),  # LONG4
    0x47: lambda m: m.push(struct.unpack(">d", m.take(8))[0]),  # BINFLOAT
    0x58: lambda m: m.push_text(m.number(4)),  # BINUNICODE
    0x8C: lambda m: m.push_text(m.number(1)),  # SHORT_BINUNICODE
    0x8D: lambda m: m.push_text(m.number(8)),  # BINUNICODE8
    0x42: lambda m: m.push(bytes(m.take(m.number(4)))),  # BINBYTES
    0x43: lambda m: m.push(bytes(m.take(m.number(1)))),  # SHORT_BINBYTES
    0x8E: lambda m: m.push(bytes(m.take(m.number(8)))),  # BINBYTES8
    0x96: lambda m: m.push(bytes(m.take(m.number(8)))),  # BYTEARRAY8
    0x29: lambda m: m.push(()),  # EMPTY_TUPLE
    0x85: lambda m: m.push_tuple(1),  # TUPLE1
    0x86: lambda m: m.push_tuple(2),  # TUPLE2
    0x87: lambda m: m.push_tuple(3),  # TUPLE3
    0x74: lambda m: m.push(tuple(map(_finished, m.pop_group()))),  # TUPLE
    0x5D: lambda m: m.push([]),  # EMPTY_LIST
    0x61: lambda m: m.append_items([m.pop()]),  # APPEND
    0x65: lambda m: m.append_items(m.pop_group()),  # APPENDS
    0x7D: lambda m: m.push({}),  # EMPTY_DICT
    0x73: lambda m: m.set_items([m.pop(), m.pop()][::-1]),  # SETITEM
    0x75: lambda m: m.set_items(m.pop_group()),  # SETITEMS
    0x71: lambda m: m.remember(m.number(1)),  # BINPUT
    0x72: lambda m: m.remember(m.number(4)),  # LONG_BINPUT
    0x94: lambda m: m.remember(len(m.memo)),  # MEMOIZE
    0x68: lambda m: m.push(m.memo[m.number(1)]),  # BINGET
    0x6A: lambda m: m.push(m.memo[m.number(4)]),  # LONG_BINGET
    0x63: _global,  # GLOBAL
    0x93: _stack_global,  # STACK_GLOBAL
    0x52: lambda m: m.apply(),  # REDUCE
    0x81: lambda m: m.new_object(),  # NEWOBJ
    0x62: lambda m: m.build(),  # BUILD
}
