"""A decoding process: gives up what it does not need, then answers requests until its input ends.

Started by :mod:`.decoders` as ``python -P -m``; imports what decoding needs and no more.
"""

import contextlib
import os
import sys

from ..decoding.decode import decode, decode_frames, load_decoders
from ..decoding.thumbnail import thumbnail
from ..provenance.read import read_provenance
from ..quiet import quiet_warnings
from .framing import BrokenMessageError, receive, send
from .messages import REGION, Request, Work, pack
from .rights import OUT_OF_MEMORY, alarm, give_up_rights, standard_pipes

_GRACE = 5.0  # seconds after the limit at which an orphan ends itself


def main() -> None:
    """Serve requests on standard input and output."""
    memory, region = int(sys.argv[1]), sys.argv[2:] == [REGION]
    source, sink = standard_pipes()
    if region:
        load_decoders()  # nvImageCodec's links files, and so needs the rights
    give_up_rights(memory)
    _one_thread_each()
    send(sink, {"ready": True})
    while True:
        try:
            header, data = receive(source, sys.maxsize)
        except BrokenMessageError:
            return
        except MemoryError:  # half a message has been read: only the end of this process is left
            os._exit(OUT_OF_MEMORY)
        request = Request.of(header)
        alarm(request.options.timeout + _GRACE)
        if request.work is Work.PROVENANCE:
            send(sink, read_provenance(data).as_dict())
        elif request.work is Work.THUMBNAIL:
            send(sink, {"drawn": True}, thumbnail(data, request.options) or b"")
        elif request.work is Work.DECODE:
            send(sink, *pack(decode(data, request.options)))
        else:
            start, stop, frames = request.start, request.stop, request.frames
            for answer in decode_frames(data, start, stop, frames, request.options):
                send(sink, *pack(answer))
                alarm(request.options.timeout + _GRACE)
        del data
        alarm(0.0)


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


if __name__ == "__main__":
    main()
