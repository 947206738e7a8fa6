"""What is freed is kept, so that the system is not asked for the same pages over and over."""

import subprocess
import sys

import pytest

PAGES = """
import resource, sys
import numpy as np
from code_forensics.engine.embedding.heap import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "kept":
    assert keep_freed_memory()
for _ in range(3):
    np.ones(1 << 18, np.float64)
before = faults()
for _ in range(100):
    large = [np.ones(1 << 18, np.float64) for _ in range(3)]
    del large
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_freed_pages_are_not_asked_for_again() -> None:
    def ran(how: str) -> int:
        command = [sys.executable, "-c", PAGES, how]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    once = 3 * (2 << 20) // 4096
    assert ran("kept") < 3 * once < 20 * once < ran("as it is")
