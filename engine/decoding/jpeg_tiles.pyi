"""Cuts tiles out of a JPEG's coded data, in C; missing where it could not be compiled."""

from collections.abc import Sequence

def cut(
    data: bytes,
    start: int,
    interval: int,
    columns: int,
    rows: int,
    components: Sequence[tuple[int, bytes, bytes]],
    tiles: Sequence[tuple[int, int, int, int]],
    /,
) -> list[bytes] | None:
    """Cut tiles out of the one scan of a baseline JPEG.

    Args:
        data: The whole file.
        start: Where the coded data begin, behind the scan's header.
        interval: Coded units between restart markers, up to 65535; 0 where there are none.
        columns: Coded units side by side, 1 to 8192.
        rows: Coded units one below the other, likewise.
        components: For each of the one or three: its blocks in a coded unit (1 to 4), and its DC
            and AC tables as DHT has them, 16 counts and the symbols.
        tiles: For each: left, top, right, bottom, in coded units; the latter two lie behind it.

    Returns:
        For each tile the coded data of a JPEG without restarts that is it, up to EOI. Its AC tables
        are the components' own, its DC table is that of ITU-T T.81, annex K.3, for luminance. None
        where the coded data do not run to EOI with the restart markers that belong there, or what
        is read of them up to the last tile is not as the standard has it, or memory is short.

    Raises:
        TypeError: An argument is of another type.
        ValueError: An argument is out of range.
        OverflowError: A number is far out of range.
        MemoryError: There is no room for as many tiles.
    """
