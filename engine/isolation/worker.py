"""A decoding process: gives up what it does not need, then answers requests until its input ends.

Started by :mod:`.decoders` as ``python -P -m``; imports what decoding needs and no more.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from ..decoding.decode import decode, decode_frames
from ..decoding.thumbnail import thumbnail
from ..provenance.read import read_provenance
from ..quiet import quiet_warnings
from .messages import BrokenMessageError, Request, Work, pack, receive, send

_GRACE = 5.0  # seconds after the limit at which an orphan ends itself
_FILES = 64  # descriptors that may be open


def main() -> None:
    """Serve requests on standard input and output."""
    memory = int(sys.argv[1])
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "r+b", buffering=0) as nowhere:  # noqa: PTH123 - a device, not a path
        for descriptor in (0, 1, 2):  # what a C library prints must not become a message
            os.dup2(nowhere.fileno(), descriptor)
    _give_up_rights(memory)
    _one_thread_each()
    send(sink, {"ready": True})
    while True:
        try:
            header, data = receive(source, sys.maxsize)
        except BrokenMessageError:
            return
        except MemoryError:  # half a message has been read: only the end of this process is left
            os._exit(1)
        request = Request.of(header)
        _alarm(request.options.timeout + _GRACE)
        if request.work is Work.PROVENANCE:
            send(sink, read_provenance(data).as_dict())
        elif request.work is Work.THUMBNAIL:
            send(sink, {"drawn": True}, thumbnail(data, request.options) or b"")
        else:
            if request.work is Work.DECODE:
                answers = [decode(data, request.options)]
            else:
                answers = decode_frames(data, request.start, request.stop, request.options)
            answer, crops = pack(answers)
            send(sink, answer, *crops)
        del data
        _alarm(0.0)


def _give_up_rights(memory: int) -> None:
    """Bound memory, forbid writing files, and be the first to go when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if sys.platform == "win32":
        return
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
    ):
        _, most = resource.getrlimit(limit)
        least = value if most == resource.RLIM_INFINITY else min(value, most)
        with contextlib.suppress(OSError, ValueError):  # macOS knows RLIMIT_AS but refuses it
            resource.setrlimit(limit, (least, least))


def _one_thread_each() -> None:
    """Decode on one thread: there is a process for each core already, and pixels do not change."""
    import PIL.AvifImagePlugin

    PIL.AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1
    with contextlib.suppress(ImportError), quiet_warnings():
        from pillow_jxl import JpegXLImagePlugin

        JpegXLImagePlugin.DECODE_THREADS = 0


def _alarm(seconds: float) -> None:
    """End this process after some seconds, even from inside C code; 0 takes that back.

    Whoever started it has a clock of its own; this one is for when that process was killed.
    """
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


if __name__ == "__main__":
    main()
