r"""Makes hostile names and metadata inert in terminals, CSV, JSON and HTML.

All text outputs share one reversible escape, :func:`path_text`, so that a name copied from any
report leads back to the exact file:

==============  ============================================================================
``\xNN``        NN below 80: that control character. NN from 80: a byte of the name that is not
                valid UTF-8 (Python's surrogate escape, U+DC80 to U+DCFF).
``\uNNNN``      C1 controls, bidirectional controls, zero-width and other invisible characters,
``\UNNNNNNNN``  line separators, and the unpaired surrogates that Windows allows in names.
``\x5c``        A backslash, only where the text would otherwise read as one of these escapes.
==============  ============================================================================

Everything else is unchanged, so plain names, emoji, and Windows paths stay as they are. Digits are
lower-case hexadecimal. The set is fixed here rather than taken from :mod:`unicodedata`, so that
the same name gives the same text under every Python version.
"""

import html
import re

# Written as escapes: the characters themselves are invisible or reorder this very line.
_INVISIBLE = (
    r"\u0000-\u001f\u007f-\u009f"  # C0 and C1 controls
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, separators, bidirectional controls
    r"\u2800\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    r"\ud800-\udfff"  # surrogates: undecodable bytes, or unpaired UTF-16 units on Windows
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # formats, tags, selectors
)
_ESCAPE = r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U000[0-9a-f]{5}|U0010[0-9a-f]{4})"
_UNSAFE = re.compile(rf"[{_INVISIBLE}]|\\(?={_ESCAPE[2:]})")
_ESCAPED = re.compile(_ESCAPE)
_UNITS = re.compile(rf"{_ESCAPE}|.", re.DOTALL)

# OWASP, "CSV Injection": the leading characters with which a spreadsheet starts a formula, and
# their full-width forms. Tab and carriage return are on that list too, but are escaped already.
_FORMULA = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20]")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _unescape(match: re.Match[str]) -> str:
    code = int(match[0][2:], 16)
    if match[0][1] == "x" and code >= 0x80:
        code += 0xDC00
    return chr(code)


def path_text(path: str) -> str:
    r"""Visible, valid Unicode for a path or any other text; the module names the escapes.

    Args:
        path: As :func:`os.fsdecode` gives it: undecodable bytes as U+DC80 to U+DCFF.

    Returns:
        Text that encodes as UTF-8 and has no control, invisible or reordering character.
        :func:`path_from_text` gives ``path`` back.
    """
    if path.isascii() and path.isprintable() and "\\" not in path:
        return path
    return _UNSAFE.sub(_escape, path)


def path_from_text(text: str) -> str:
    """The path that :func:`path_text` wrote; :func:`os.fsencode` then gives its exact bytes."""
    return _ESCAPED.sub(_unescape, text) if "\\" in text else text


def for_terminal(text: str, limit: int | None = None) -> str:
    """Text for a terminal: one line, no control sequence, no reordering.

    Markup of a terminal library (such as ``[bold]``) is not touched: print it without markup.

    Args:
        text: Any string.
        limit: Most characters to return, at least 1; longer text loses its middle to an
            ellipsis, never half an escape. None keeps everything, which alone is reversible.
    """
    text = path_text(text)
    if limit is None or len(text) <= limit:
        return text
    before = limit // 2
    # Ten characters more than can be shown: an escape cut by the slice then lies outside.
    head = _fit(_UNITS.findall(text[: before + 10]), before)
    tail = _fit(_UNITS.findall(text[-limit - 10 :])[::-1], limit - 1 - before)
    return "".join([*head, "…", *tail[::-1]])


def _fit(units: list[str], room: int) -> list[str]:
    """As many whole units as fit into ``room`` characters."""
    kept: list[str] = []
    for unit in units:
        room -= len(unit)
        if room < 0:
            break
        kept.append(unit)
    return kept


def for_csv(text: str) -> str:
    """Text for one CSV cell: :func:`path_text`, and an apostrophe before a formula.

    The writer still has to quote cells; quote all of them (``csv.QUOTE_ALL``), because a
    spreadsheet may split at semicolons or tabs too. Numbers must not pass through here.
    """
    text = path_text(text)
    return "'" + text if _FORMULA.match(text) else text


def from_csv(cell: str) -> str:
    """The text that :func:`for_csv` was given."""
    return path_from_text(cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell)


def for_json(text: str) -> str:
    """Text for a JSON string; the JSON writer adds its own quoting on top."""
    return path_text(text)


def for_html(text: str) -> str:
    """Text for HTML content or for a quoted attribute."""
    return html.escape(path_text(text), quote=True)
