"""sqlite_utils, without pandas.

It imports pandas wherever that is installed, to know its types, and every start would wait a
quarter of a second for it. Nothing here stores such types.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _missing(name: str) -> Iterator[None]:
    """Within it, a module that is not imported yet cannot be."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _missing("pandas"):
    from sqlite_utils import Database, Migrations

__all__ = ["Database", "Migrations"]
