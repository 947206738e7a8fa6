import csv
import html.parser
import io
import json
import os
import sys
import unicodedata

import pytest
from code_forensics.engine.inert import (
    for_csv,
    for_html,
    for_json,
    for_terminal,
    from_csv,
    path_from_text,
    path_text,
)
from hypothesis import example, given
from hypothesis import strategies as st

# Any code point, lone surrogates included, and often the characters that matter here.
anything = st.text(
    st.one_of(
        st.characters(codec=None, exclude_categories=()),
        st.sampled_from("\\xuU0123456789abcdef=+-@'\"<>&;,\t\r\n\x1b\u202e\u200b\udc80\ud800"),
    )
)

HOSTILE = [
    ("a\x1b]0;title\x07b", r"a\x1b]0;title\x07b"),
    ("line\r\nbreak", r"line\x0d\x0abreak"),
    ("\x9b31m", r"\u009b31m"),
    ("gpj.\u202eexe", r"gpj.\u202eexe"),
    ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
    ("not utf-8 \udcff\udc80", r"not utf-8 \xff\x80"),
    ("unpaired \ud83d", r"unpaired \ud83d"),
    ("tag\U000e0041", r"tag\U000e0041"),
    ("\\\x1b", "\\" + r"\x1b"),
    (r"spoof\x1b", r"spoof\x5cx1b"),
    (r"spoof\x5cx1b", r"spoof\x5cx5cx1b"),
]

PLAIN = [
    "IMG_0001.JPG",
    r"C:\Users\me\Pictures\holiday (1).jpg",
    r"\\server\share\x\u\U.png",
    "père Noël.jpg",
    "写真　二.heic",
    "Screenshot 2025-01-01 at 3.00.00\u202fPM.png",
    "\u2764\ufe0f.png",
    "مرحبا.jpg",
]


@pytest.mark.parametrize(("text", "visible"), HOSTILE)
def test_hostile_text_becomes_visible_and_comes_back(text: str, visible: str) -> None:
    assert path_text(text) == visible == for_terminal(text) == for_json(text)
    assert path_from_text(visible) == text


@pytest.mark.parametrize("name", PLAIN)
def test_plain_names_stay_unchanged(name: str) -> None:
    assert path_text(name) == name == for_terminal(name) == for_csv(name) == for_html(name)


@pytest.mark.skipif(sys.platform == "win32", reason="names are not bytes on Windows")
@given(
    st.binary() | st.lists(st.sampled_from([b"\\", b"x", b"5c", b"\xff", b"\x1b"])).map(b"".join)
)
def test_every_byte_string_comes_back(name: bytes) -> None:
    text = path_text(os.fsdecode(name))
    text.encode("utf-8")
    assert os.fsencode(path_from_text(text)) == name


@given(anything)
@example(r"\x41")
@example("\\\\x41")
@example(r"\U0010ffff\U00110000")
def test_every_string_comes_back(text: str) -> None:
    assert path_from_text(path_text(text)) == text


def test_every_character_of_a_dangerous_category_is_escaped() -> None:
    # Independent of the ranges in the module: the categories of this Python's Unicode database.
    dangerous = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    # Signs with a shape of their own: Arabic, Syriac, Kaithi and hieroglyph format characters.
    visible = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    visible |= set(range(0x13430, 0x13440))
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if unicodedata.category(char) in dangerous and code not in visible:
            assert path_text(char) != char, hex(code)
        assert path_from_text(path_text(char)) == char


@given(anything)
def test_terminal_text_has_no_control(text: str) -> None:
    shown = for_terminal(text)
    shown.encode("utf-8")
    assert not any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in shown)
    assert not any(
        unicodedata.bidirectional(c) in {"RLO", "LRO", "RLE", "LRE", "RLI"} for c in shown
    )


@given(anything, st.integers(1, 30))
@example("\x1b" * 40, 10)
@example("a" * 500, 11)
def test_terminal_text_fits_its_limit(text: str, limit: int) -> None:
    shown, full = for_terminal(text, limit), path_text(text)
    assert len(shown) <= limit
    if len(full) <= limit:
        assert shown == full
    else:
        head, _, tail = shown.partition("…") if "…" not in full else (shown, "", "")
        assert full.startswith(head) or "…" in full
        assert full.endswith(tail)


def test_long_name_keeps_both_ends_and_whole_escapes() -> None:
    assert for_terminal("IMG_" + "0" * 300 + ".jpeg", 15) == "IMG_000…00.jpeg"
    assert for_terminal("\x1b" * 9, 12) == r"\x1b…\x1b"


@given(st.lists(anything, min_size=1, max_size=4))
@example(["=cmd|' /C calc'!A0", "'=1", "''", '"', "a\nb"])
def test_csv_row_comes_back_and_holds_no_formula(cells: list[str]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow([for_csv(cell) for cell in cells])
    rows = list(csv.reader(io.StringIO(out.getvalue().encode("utf-8").decode("utf-8"), newline="")))
    assert len(rows) == 1
    assert [from_csv(cell) for cell in rows[0]] == cells
    for cell in rows[0]:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))  # noqa: RUF001
        assert "\n" not in cell


def test_formulas_are_prefixed() -> None:
    assert for_csv("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    assert for_csv("-1.jpg") == "'-1.jpg"
    assert for_csv("\t=1") == r"\x09=1"


@given(anything)
def test_json_comes_back_as_valid_utf8(text: str) -> None:
    for ascii_only in (True, False):
        written = json.dumps({"path": for_json(text)}, ensure_ascii=ascii_only).encode("utf-8")
        assert path_from_text(json.loads(written)["path"]) == text


class _Collector(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.titles: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.titles += [value for name, value in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.text += data


@given(anything)
@example("<script>alert(1)</script>")
@example("\" onmouseover='x' y=\"&lt;&#x3c")
@example("<!--")
def test_html_adds_no_element_and_comes_back(text: str) -> None:
    parser = _Collector()
    parser.feed(f'<p title="{for_html(text)}">{for_html(text)}</p>')
    parser.close()
    assert parser.tags == ["p"]
    assert path_from_text(parser.text) == text
    assert [path_from_text(title or "") for title in parser.titles] == [text]
