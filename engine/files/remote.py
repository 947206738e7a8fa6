"""Files at addresses, through fsspec: looked at, listed and read within bounds of bytes and time.

Only the file systems of :data:`addresses.SCHEMES` are asked, each by its name, so that neither a
redirect nor an address of several parts leads to a file of this machine. What fails is a reason in
the file's row, as with files on disk.
"""

import functools
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from ..errors import InputError
from .addresses import fault, is_prefix, without_password
from .found import FoundFile, ReadFile, Reason

SILENCE = 30.0
"""Seconds without a byte after which a server is given up."""

DURATION = 600.0
"""Seconds that one file may take in all."""

TRIES = 3
"""How often a server that fails is asked."""

_CONNECT = 10.0
_BLOCK = 1 << 20
_ASKED = 16  # servers are asked about so many files at a time
_DETAIL = 200
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP's codes for "try again"
_LASTING = frozenset({  # aiohttp's names for addresses and redirects that lead nowhere
    "InvalidURL", "InvalidUrlRedirectClientError", "NonHttpUrlRedirectClientError",
    "TooManyRedirects",
})  # fmt: skip
_VERSION = ("ETag", "etag", "generation", "md5Hash", "Content-MD5", "Digest", "Last-Modified")
_MODIFIED = ("LastModified", "updated", "Last-Modified", "mtime", "created")

T = TypeVar("T")


def require(address: str) -> None:
    """Find out at the beginning whether there is what reads an address.

    Raises:
        InputError: A package is missing.
    """
    _system(_scheme(address))


def look(addresses: Iterable[str]) -> Iterator[tuple[str, FoundFile | None]]:
    """Look at files without reading them, several at a time.

    Args:
        addresses: Taken as they are needed; those of prefixes are not asked for.

    Yields:
        In their order each address, and what was found: None of a prefix.
    """
    waiting: deque[tuple[str, Future[FoundFile] | None]] = deque()
    with ThreadPoolExecutor(_ASKED, "look") as pool:
        try:
            for address in addresses:
                waiting.append(
                    (address, None if is_prefix(address) else pool.submit(examine, address))
                )
                if len(waiting) >= 2 * _ASKED:
                    yield _arrived(*waiting.popleft())
            while waiting:
                yield _arrived(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def unseen(addresses: Iterable[str]) -> Iterator[tuple[str, FoundFile | None]]:
    """The same without asking a server: files without a size and a time."""
    for address in addresses:
        yield address, None if is_prefix(address) else FoundFile(address, root=address)


def _arrived(address: str, found: "Future[FoundFile] | None") -> tuple[str, FoundFile | None]:
    return address, None if found is None else found.result()


def examine(address: str, root: str = "") -> FoundFile:
    """Describe one file as a walk would: its size, and when it was changed.

    Where a server tells neither a version nor a time, the size is left out, so that the file is
    never taken for unchanged. One that answers no such question may still give the file.
    """
    file = FoundFile(address, root=root or address)
    if (wrong := fault(address)) is not None:
        shown = without_password(address)
        return FoundFile(shown, reason=Reason.UNREADABLE, detail=wrong, root=shown)
    try:
        info = _insist(lambda: _system(_scheme(address)).info(address))
    except Exception as error:  # each file system raises its own
        if _absent(error):
            return replace(file, reason=Reason.VANISHED, detail="there is nothing at the address")
        return file  # reading it says what is wrong
    if info.get("type") == "directory":
        said = "a prefix, whose objects are scanned where it ends with a slash"
        return replace(file, reason=Reason.VANISHED, detail=said)
    return _described(file, info)


def listing(
    address: str, recurse: bool, enter: Callable[[str], bool], root: str = ""
) -> Iterator[FoundFile]:
    """List the objects below a prefix, in the order of a walk.

    Args:
        address: Of the prefix.
        recurse: Whether to descend.
        enter: Whether a prefix below belongs.
        root: The prefix that was given.
    """
    root = root or address
    scheme = _scheme(address)
    place = address.partition("://")[2].rstrip("/")
    try:
        entries = _insist(lambda: _system(scheme).ls(place, detail=True))
    except Exception as error:
        reason = Reason.UNREADABLE_DIRECTORY
        yield FoundFile(address, reason=reason, detail=_said(error), root=root)
        return
    names: dict[str, Mapping[str, Any]] = {str(entry["name"]): entry for entry in entries}
    for name in sorted(names, key=lambda name: name.rstrip("/").rpartition("/")[2]):
        entry, below = names[name], f"{scheme}://{name}"
        if entry.get("type") != "directory":
            if name.rstrip("/") != place:  # else the object that stands for the prefix itself
                yield _described(FoundFile(below, root=root), entry)
        elif name.rstrip("/") == place:
            said = "names with an empty part cannot be listed: give their addresses"
            reason = Reason.UNREADABLE_DIRECTORY
            yield FoundFile(below, reason=reason, detail=said, root=root)
        elif recurse and enter(below):
            yield from listing(below, recurse, enter, root)


def read(file: FoundFile, max_bytes: int) -> ReadFile:
    """Read and hash the file at an address.

    Never raises for the file's sake: what goes wrong is the reason of the returned file.

    Args:
        file: As discovered.
        max_bytes: Larger files are not read: reason ``too_large``.
    """
    if file.bytes is not None and file.bytes > max_bytes:
        return _refuse(file, "too_large", f"{file.bytes} bytes, the limit is {max_bytes}")
    try:
        data = _insist(lambda: _fetch(file, max_bytes))
    except _TooLargeError:
        return _refuse(file, "too_large", f"more than the limit of {max_bytes} bytes")
    except Exception as error:  # each file system raises its own
        if _absent(error):
            return _refuse(file, Reason.VANISHED, "there is nothing at the address")
        return _refuse(file, Reason.UNREADABLE, _said(error))
    if file.bytes not in (None, len(data)):
        said = f"{len(data)} bytes came where {file.bytes} were announced"
        return _refuse(file, Reason.CHANGED, said)
    now = replace(file, bytes=len(data))
    return ReadFile(now, data, hashlib.sha256(data).hexdigest()) if data else _refuse(now, "empty")


class _TooLargeError(Exception):
    """There are more bytes than the limit."""


def _fetch(file: FoundFile, max_bytes: int) -> bytes:
    scheme = _scheme(file.path)
    # A stream, without asking for the size again: a server may ignore the range that is asked for.
    streaming = {"block_size": 0, "size": file.bytes or 1} if scheme.startswith("http") else {}
    until = time.monotonic() + DURATION
    data = bytearray()
    with _system(scheme).open(file.path, "rb", **streaming) as source:
        while block := source.read(min(_BLOCK, max_bytes + 1 - len(data))):
            data += block
            if len(data) > max_bytes:
                raise _TooLargeError
            if time.monotonic() > until:
                raise TimeoutError(f"not all of it came within {DURATION:g} s")
    return bytes(data)


def _insist(ask: Callable[[], T]) -> T:
    """Ask again where a failure may pass."""
    for attempt in range(1, TRIES):
        try:
            return ask()
        except Exception as error:  # each file system raises its own
            if not _may_pass(error):
                raise
            time.sleep(0.25 * 4**attempt)
    return ask()


def _absent(error: Exception) -> bool:
    """Whether there is nothing; fsspec says so too where a web server did not answer."""
    cause = error.__cause__
    unanswered = isinstance(cause, TimeoutError) or (
        type(cause).__module__.startswith("aiohttp")
        and getattr(cause, "status", None) not in (404, 410)
    )
    return isinstance(error, FileNotFoundError) and not unanswered


def _may_pass(error: Exception) -> bool:
    if _absent(error) or isinstance(error, (PermissionError, InputError, _TooLargeError)):
        return False
    if not _LASTING.isdisjoint(type(each).__name__ for each in (error, error.__cause__)):
        return False  # also where fsspec has made a FileNotFoundError of it
    status = getattr(error, "status", None)
    return not isinstance(status, int) or status in _PASSING


@functools.cache
def _system(scheme: str) -> Any:
    """The file system of a scheme, whose every answer is awaited for a bounded time."""
    try:
        import fsspec

        if scheme in ("http", "https"):
            from aiohttp import ClientTimeout

            limits = ClientTimeout(total=DURATION, sock_connect=_CONNECT, sock_read=SILENCE)
            return fsspec.filesystem(
                "https",
                client_kwargs={"timeout": limits},
                headers={"Accept-Encoding": "identity"},
            )
        if scheme == "s3":
            bounds = {"connect_timeout": _CONNECT, "read_timeout": SILENCE}
            return fsspec.filesystem("s3", config_kwargs=bounds, use_listings_cache=False)
        return fsspec.filesystem("gs", requests_timeout=SILENCE, use_listings_cache=False)
    except ImportError as error:
        raise InputError(
            f"{scheme}:// needs a package that is not installed",
            "pip install 'code-forensics[remote]'",
        ) from error


def _scheme(address: str) -> str:
    return address.partition("://")[0].lower()


def _described(file: FoundFile, info: Mapping[str, Any]) -> FoundFile:
    """A file with what its server says of it, in the place of what a disk would."""
    version = next((str(info[name]) for name in _VERSION if info.get(name)), "")
    modified = next((time_ns for name in _MODIFIED if (time_ns := _time_ns(info.get(name)))), 0)
    size = info.get("size")
    if not isinstance(size, int) or not 0 <= size < 1 << 63 or not (version or modified):
        return file  # no file has more bytes, whatever a server says
    digest = hashlib.sha256(version.encode()).digest() if version else bytes(8)
    return replace(
        file, bytes=size, mtime_ns=modified, inode=int.from_bytes(digest[:8], "big") >> 1
    )


def _time_ns(value: object) -> int:
    """Nanoseconds since the epoch; 0 for what is no time."""
    try:
        if isinstance(value, str):  # ISO 8601, or as in HTTP's headers
            iso = value[:1].isdigit()
            value = datetime.fromisoformat(value) if iso else parsedate_to_datetime(value)
        if isinstance(value, datetime):
            return int(value.timestamp()) * 10**9 + value.microsecond * 1000
    except (ValueError, OverflowError):
        pass
    return 0


def _said(error: Exception) -> str:
    """An exception in one printable line."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return line.encode("ascii", "backslashreplace").decode()[:_DETAIL]


def _refuse(file: FoundFile, reason: str, detail: str | None = None) -> ReadFile:
    return ReadFile(replace(file, reason=reason, detail=detail))
