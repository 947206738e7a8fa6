"""Keys of contents: a file's SHA-256, and of its further frames that and their number."""


def content_key(sha256: str, frame: int) -> str:
    """The key of a frame.

    Args:
        sha256: Of the file, hexadecimal.
        frame: From 1; the first has the key of its file.
    """
    return sha256 if frame == 1 else f"{sha256}#{frame}"


def split_key(key: str) -> tuple[str, int]:
    """SHA-256 and frame of a key."""
    sha256, _, frame = key.partition("#")
    return sha256, int(frame or 1)
