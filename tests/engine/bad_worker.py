"""A decoding process whose decoder does what its input says: crash, hang, or eat memory."""

import ctypes
import time

from code_forensics.engine.decoding.decode import decode
from code_forensics.engine.isolation import worker


def _decode(data, options):
    if b"CRASH" in data:
        ctypes.string_at(0)
    if b"HANG" in data:
        time.sleep(3600)
    if b"EXIT" in data:
        raise SystemExit(3)
    if b"LIE" in data:
        return ["no answer"]
    if b"EAT" in data:
        eaten = []
        try:
            while len(eaten) < 64:
                eaten.append(bytearray(1 << 25))
        except MemoryError:
            raise SystemExit(42) from None
    return decode(data, options)


if __name__ == "__main__":
    worker.decode = _decode
    worker.main()
