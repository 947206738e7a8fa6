"""Hostile names, on disk and in archives: inert in every output, and each still names its file."""

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from code_forensics.engine.inert import from_csv, path_from_text
from PIL import Image

from tests.cli.in_process import run
from tests.conftest import draw_photo
from tests.engine.test_archives import tar_of, zip_of

SOFFICE = shutil.which("soffice")
NAMES = [
    b"\x1b[2J\x1b[31mred.jpg", b"two\nlines.jpg", b"\xe2\x80\xaegpj.exe.jpg", b"\xff\xfe\x80.jpg",
    b"=HYPERLINK(\"http:x\",\"y\").jpg", b"+1.jpg", b"-1.jpg", b"@SUM(A1).jpg", b"=cmd|' -C calc'!A0.jpg",
    b"<img src=x onerror=alert(1)>.jpg", b"a'b\"c;d,e\t.jpg", b"[bold]x[-bold].jpg", b"\\x41.jpg",
    b"n" * 240 + b".jpg", b"' =1.jpg", b"\xc2\x9b31m.jpg", b"<script>1.jpg",
]  # fmt: skip


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """A folder with ws/, names/ and the reports of a scan of names/."""
    if sys.platform != "linux":
        pytest.skip("other systems do not allow such names")
    folder = tmp_path_factory.mktemp("hostile")
    draw_photo(folder / "rough" / "s" / "0.png", 0, smooth=1)
    draw_photo(folder / "smooth" / "s" / "0.png", 1, smooth=16)
    generator = "g\udcffn=" + str(folder / "smooth")  # a name that is no UTF-8
    run(
        *("code-index", "build", "g", "--real", folder / "rough", "--fake", generator),
        *("--weights", small_checkpoint, "--workspace", folder / "ws", "-q"),
    )
    rng = np.random.default_rng(0)
    members = {}
    (folder / "names").mkdir()
    for name in NAMES:
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (230, 230, 3), dtype=np.uint8)).save(file, "JPEG")
        with open(bytes(folder / "names") + b"/" + name, "wb") as target:
            target.write(file.getvalue())
        members[name.decode("utf-8", "surrogateescape")] = file.getvalue()
    (folder / "names" / "=1.tar").write_bytes(tar_of(members))
    (folder / "names" / "-1.zip").write_bytes(zip_of({"../=1+1.jpg": file.getvalue()}))
    ran = run(
        *("code-scan", folder / "names", "--archives", "--workspace", folder / "ws"),
        *("--csv", folder / "r.csv", "--json", folder / "r.json", "--jsonl", folder / "r.jsonl"),
        *("--case", "\x1b[31m", "--note", "<script>"),
    )
    (folder / "terminal").write_text(ran.stdout + ran.stderr, encoding="utf-8")
    run(
        "code-report", "export", "latest", "--html", folder / "r.html", "--workspace", folder / "ws"
    )
    return folder


def expected(folder: Path) -> set[str]:
    names = [name.decode("utf-8", "surrogateescape") for name in NAMES]
    disk = [
        *names,
        "=1.tar",
        "-1.zip",
        "-1.zip!/../=1+1.jpg",
        *(f"=1.tar!/{name}" for name in names),
    ]
    return {f"{folder}/names/{name}" for name in disk}


@pytest.mark.parametrize("name", ["r.csv", "r.json", "r.jsonl", "r.html", "terminal"])
def test_no_output_holds_a_control_character(scanned: Path, name: str) -> None:
    text = (scanned / name).read_bytes().decode("utf-8")  # valid, to begin with
    allowed = "\n\r" if name == "r.csv" else "\n"
    bad = {c for c in text if (ord(c) < 32 and c not in allowed) or 0x7F <= ord(c) < 0xA0}
    assert bad == set()
    assert not set(text) & set("\u202e\u2028\u200b\ufeff")


def test_every_output_leads_back_to_each_file(scanned: Path) -> None:
    with (scanned / "r.csv").open(encoding="utf-8", newline="") as file:
        cells = [row["path"] for row in csv.DictReader(file)]
    assert {from_csv(cell) for cell in cells} == expected(scanned)
    assert len(cells) == len(expected(scanned))
    report = json.loads((scanned / "r.json").read_text(encoding="utf-8"))
    assert {path_from_text(row["path"]) for row in report["files"]} == expected(scanned)
    lines = (scanned / "r.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    assert {path_from_text(row["path"]) for row in rows} == expected(scanned)
    page = (scanned / "r.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<script>1" not in page
    assert "\\u003cimg src=x" in page  # as data of a script, out of which nothing leads


def test_relative_names_that_begin_like_formulas(scanned: Path, monkeypatch) -> None:
    monkeypatch.chdir(scanned / "names")
    target = scanned / "relative.csv"
    run("code-scan", "./+1.jpg", "=1.tar", "--csv", target, "-q", "--workspace", scanned / "ws")
    rows = list(csv.reader(io.StringIO(target.read_text(encoding="utf-8"), newline="")))
    assert [row[0] for row in rows[1:]] == ["'+1.jpg", "'=1.tar"]
    for row in rows[1:]:
        assert not any(cell[:1] in tuple("=+@\t\r") for cell in row)


@pytest.mark.slow
@pytest.mark.skipif(not SOFFICE, reason="needs LibreOffice")
def test_a_spreadsheet_computes_nothing(scanned: Path, tmp_path: Path, monkeypatch) -> None:
    """Opened by LibreOffice and saved as flat XML: no cell has a formula, each has its text."""
    monkeypatch.chdir(scanned / "names")
    names = [
        n.decode("utf-8", "surrogateescape") for n in NAMES if n[:1] in (b"=", b"+", b"-", b"@")
    ]
    target = tmp_path / "formulas.csv"
    run(
        "code-scan",
        *(f"./{n}" for n in names),
        "--csv",
        target,
        "-q",
        "--workspace",
        scanned / "ws",
    )
    (tmp_path / "control.csv").write_text("=1+1\n")  # what LibreOffice does with a formula
    for file in (target, tmp_path / "control.csv"):
        subprocess.run(
            [str(SOFFICE), "--headless", f"-env:UserInstallation=file://{tmp_path}/profile",
             "--infilter=CSV:44,34,76,1,,0,false,true,false,false,false,-1", "--convert-to", "fods",
             "--outdir", tmp_path, file],
            check=True, capture_output=True, timeout=240,
        )  # fmt: skip
    sheets = sorted(tmp_path.glob("*.fods"))
    assert len(sheets) == 2
    control, made = (sheet.read_text(encoding="utf-8") for sheet in sheets)
    assert "HYPERLINK" in made
    assert "table:formula" not in made
    assert "table:formula" in control or "=1+1" in control or ">2<" in control
