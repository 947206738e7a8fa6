"""Addresses of files that do not lie on this machine: what is one, and what of it is its name."""

import re
from pathlib import PurePath
from urllib.parse import unquote, urlsplit, urlunsplit

SCHEMES = ("s3", "gs", "http", "https")
"""Where files are read from."""

_ADDRESS = re.compile(rf"(?:{'|'.join(SCHEMES)})://", re.IGNORECASE)
_OTHER = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://|:)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def is_address(path: str) -> bool:
    """Whether a path is an address; every other one is a file here."""
    return _ADDRESS.match(path) is not None


def is_prefix(address: str) -> bool:
    """Whether it stands for all objects below it: a bucket, or what ends with a slash in one."""
    scheme, _, rest = address.partition("://")
    return scheme.lower() in ("s3", "gs") and (rest.endswith("/") or "/" not in rest)


def fault(path: str) -> str | None:
    """Why nothing is read from an address; None where it can be, and of a path without a scheme.

    User names and passwords would stand in every report. ``::`` would chain file systems, and
    schemes such as ``file:`` would let a list of addresses open what lies on this machine.
    """
    if not is_address(path):
        scheme = path.partition(":")[0]
        if not _OTHER.match(path):
            return None
        return f"nothing is read from {scheme}:, only from {', '.join(SCHEMES)} addresses"
    if _CONTROLS.search(path):
        return "a control character in an address"
    try:
        parts = urlsplit(path)
        named, host = "@" in parts.netloc, parts.hostname
        _ = parts.port
    except ValueError as error:
        return str(error)
    if not host:
        return "an address without a host or bucket"
    if named:
        return "an address with a user name or password, which would stand in every report"
    return None


def without_password(path: str) -> str:
    """An address that may be shown."""
    if not is_address(path):
        return path
    try:
        parts = urlsplit(path)
    except ValueError:
        return path
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def suffix_of(path: str) -> str:
    """The suffix of a file's name, with its dot; of an address without its query."""
    if is_address(path):
        path = unquote(urlsplit(path).path) if path.lower().startswith("http") else path
    return PurePath(path).suffix
