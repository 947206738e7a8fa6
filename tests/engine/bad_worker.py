"""A decoding process whose decoder does what its input says: crash, hang, or eat memory."""

import ctypes
import os
import signal
import time
from dataclasses import replace

from code_forensics.engine.decoding.decode import decode, decode_frames
from code_forensics.engine.isolation import worker


def _decode(data, options):
    if b"CRASH" in data:
        ctypes.string_at(0)
    if b"HANG" in data:
        time.sleep(3600)
    if b"KILL" in data:  # as the system does when memory runs out
        os.kill(os.getpid(), signal.SIGKILL)
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
    if b"WRONG" in data:
        return replace(decode(data, options), width=0)
    return decode(data, options)


def _decode_frames(data, start, stop, frames, options):
    answers = decode_frames(data, start, stop, frames, options)
    for number, answer in zip(range(start, stop), answers, strict=True):
        if b"SLOW" in data:
            time.sleep(0.4)
        if b"CRASH@%d;" % number in data:
            ctypes.string_at(0)
        if b"HANG@%d;" % number in data:
            time.sleep(3600)
        yield answer


if __name__ == "__main__":
    worker.decode = _decode
    worker.decode_frames = _decode_frames
    worker.main()
