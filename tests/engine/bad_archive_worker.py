"""A process that walks archives, and at some names of members crashes, hangs, or writes a file."""

import ctypes
import time
from pathlib import Path

from code_forensics.engine.archives import worker

walk = worker.walk_archive


def _walk(file, kind, name, spent, max_bytes):
    for member in walk(file, kind, name, spent, max_bytes):
        if member.path == "CRASH":
            ctypes.string_at(0)
        if member.path == "HANG":
            time.sleep(3600)
        if member.path == "WRITE":
            Path(file.name).with_name("written").write_bytes(b"x" * 100)
        yield member


if __name__ == "__main__":
    worker.walk_archive = _walk
    worker.main()
