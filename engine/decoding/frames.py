"""Counts the frames of GIFs and the pages of TIFFs, without decoding any.

Pillow compares each page of a TIFF with all before it, and takes any time that a file is made to
cost: a bounded walk over the same structures keeps the count from spoiling the first frame.
Layouts: TIFF 6.0 section 2, BigTIFF (Aware Systems), GIF89a.
"""

import re
import struct

MOST_COUNTED = 1_000_000
"""Frames at which counting ends, so that this number means so many or more."""

_BLOCK = re.compile(rb"[,!;]")
_SUB_BLOCKS = 1 << 24  # of a GIF, all together: four times what 1 GiB of full ones holds


def count_pages(data: bytes) -> int:
    """Directories in the chain of a TIFF or BigTIFF that lie within the file, each once.

    Args:
        data: The whole file.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    pointer, count = struct.Struct(order + "IQ"[big]), struct.Struct(order + "HQ"[big])
    entry = 20 if big else 12
    seen: set[int] = set()
    place = 8 if big else 4  # of the pointer to the next directory
    while place + pointer.size <= len(data) and len(seen) < MOST_COUNTED:
        (at,) = pointer.unpack_from(data, place)
        if at == 0 or at in seen or at + count.size > len(data):
            break
        (entries,) = count.unpack_from(data, at)
        place = at + count.size + entries * entry
        if not entries or place > len(data):
            break
        seen.add(at)
    return len(seen)


def count_gif_frames(data: bytes) -> int:
    """Frames of a GIF that begin within the file, by Pillow's reading of it.

    Args:
        data: The whole file. One with more than 16 million sub-blocks is counted in part.
    """
    frames, left = 0, _SUB_BLOCKS

    def skip_blocks(at: int) -> int:
        nonlocal left
        while left and (size := data[at]):
            at += 1 + size
            left -= 1
        return at + 1

    at = 13 + _table(data[10])
    try:
        while frames < MOST_COUNTED and left:
            kind = data[at]
            if kind == ord(";"):
                break
            if kind == ord(","):
                at += 10 + _table(data[at + 9])
                _ = data[at]  # the size of codes
                frames += 1
                at = skip_blocks(at + 1)
            elif kind == ord("!"):
                # An extension's first block may be empty, and more still follow; a comment's not.
                at += 2 if data[at + 1] == 0xFE else 3 + data[at + 2]
                at = skip_blocks(at)
            else:  # to what begins a block
                found = _BLOCK.search(data, at)
                if found is None:
                    break
                at = found.start()
    except IndexError:  # the file ends here
        pass
    return frames


def _table(flags: int) -> int:
    """Bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
