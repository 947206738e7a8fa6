"""Every command in the README and in the pages beside the code runs as it stands there.

A page's blocks run one after the other in a folder of its own with the files that the pages speak
of. A block that is shown elsewhere says where: ``<!-- shown by: FILE -->`` above it.
"""

import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.in_process import run
from tests.conftest import draw_photo

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        ROOT / "README.md",
        *(p for room in ("cli", "engine", "index", "train") for p in (ROOT / room).rglob("*.md")),
    )
)
BLOCK = re.compile(
    r"(?:<!-- (?:shown by: (?P<by>\S+)|(?P<test>test)) -->\n)?```(?P<kind>sh|python)\n(?P<body>.*?)```",
    re.DOTALL,
)
SHOWN_BY = {
    "engine/starter/assets/MODEL_CARD.md": "tests/train/test_starter.py",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: Path) -> Path:
    """The folders that the pages speak of, and a workspace with the gallery and one scan."""
    folder = tmp_path_factory.mktemp("docs")
    for number in range(24):
        draw_photo(folder / "my-photos" / f"camera{number % 3}" / f"{number}.jpg", number)
        draw_photo(
            folder / "my-fakes" / f"gen{number % 3}" / f"{number}.png", 100 + number, smooth=16
        )
    for number in range(8):
        draw_photo(folder / "labelled" / "real" / "other" / f"{number}.jpg", 200 + number)
        draw_photo(folder / "labelled" / "fake" / "gen9" / f"{number}.png", 300 + number, smooth=16)
    for number in range(2):
        draw_photo(folder / "photos" / f"{number}.jpg", 400 + number, smooth=1 + 15 * number)
        draw_photo(folder / "new-generator" / f"{number}.png", 500 + number, smooth=8)
    (folder / "my-encoder").symlink_to(small_checkpoint)
    return folder


@pytest.fixture
def sandbox(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for entry in base.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODE_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path


def commands(body: str) -> list[str]:
    lines = re.sub(r"(?:\\|&&)\n\s*", " && ", body.replace(" \\\n", " ")).splitlines()
    parts = [part.strip() for line in lines for part in line.split(" && ")]
    return [part for part in parts if part and not part.startswith("#")]


def perform(command: str) -> None:
    words = shlex.split(command, comments=True)
    program = Path(words[0]).name
    if {"|", ">", "-"} & set(words):
        path = f"{Path(sys.executable).parent}"
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f'PATH="{path}:$PATH"; {command}'], check=True
        )
    else:
        run(program, *words[1:])


@pytest.mark.parametrize("page", PAGES)
def test_the_page_does_what_it_says(page: str, sandbox: Path) -> None:
    if page in SHOWN_BY:
        assert (ROOT / SHOWN_BY[page]).is_file()
        return
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(re.findall(r"^```\w", text, re.MULTILINE)) == len(BLOCK.findall(text)), (
        "an odd block"
    )
    if not re.search(r"^(\.venv/bin/)?code-index build", text, re.MULTILINE):
        run(
            "code-index",
            "build",
            "desk",
            "--real",
            "my-photos",
            "--fake",
            "my-fakes",
            "--weights",
            "my-encoder",
            "-q",
        )
    if not re.search(r"^(\.venv/bin/)?code-scan", text, re.MULTILINE):
        run("code-scan", "photos", "-q")
    names: dict[str, object] = {}
    for block in BLOCK.finditer(text):
        if block["by"] or block["test"]:  # .ci/run runs the latter
            assert (ROOT / (block["by"] or ".ci/run")).is_file()
        elif block["kind"] == "python":
            exec(compile(block["body"], page, "exec"), names)
        else:
            for command in commands(block["body"]):
                perform(command)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page == "README.md" or f"]({page})" in readme, page


def test_names_in_docstrings_lead_somewhere() -> None:
    for room in ("cli", "engine", "index", "train"):
        for module in (ROOT / room).rglob("*.py"):
            text = module.read_text(encoding="utf-8")
            for name in re.findall(r":[a-z]+:`~?(code_forensics[^`]+)`", text):
                pkgutil.resolve_name(name)
