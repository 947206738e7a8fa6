"""Labelled folders: what sub-directories say of a file."""

import os
from pathlib import Path

import pytest
from code_forensics.engine.build import LabelledFolder
from code_forensics.engine.results import Label


@pytest.mark.parametrize(
    ("label", "generator", "file", "expected"),
    [
        (Label.REAL, None, "a.jpg", ("", "top")),
        (Label.REAL, None, "phones/x/a.jpg", ("", "phones")),
        (Label.FAKE, None, "a.jpg", ("", "top")),
        (Label.FAKE, None, "sdxl/a.jpg", ("sdxl", "sdxl")),
        (Label.FAKE, None, "sdxl/web/deep/a.jpg", ("sdxl", "web")),
        (Label.FAKE, "flux", "a.jpg", ("flux", "top")),
        (Label.FAKE, "flux", "web/a.jpg", ("flux", "web")),
    ],
)
def test_folders_name_generators_and_sources(
    tmp_path: Path, label: Label, generator: str | None, file: str, expected: tuple[str, str]
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    assert LabelledFolder(top, label, generator).attribute(str(top / file)) == expected


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text_is_written_out(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    generator, source = LabelledFolder(tmp_path, Label.FAKE).attribute(str(folder / "a.png"))
    assert generator == source == "caf\\xe9"
    assert generator.encode("utf-8")


@pytest.mark.parametrize("label", list(Label))
def test_a_single_file_is_one_of_its_directory(tmp_path: Path, label: Label) -> None:
    """Each its own source, files named one by one would seem to be of as many origins."""
    for name in ("a.jpg", "b.jpg"):
        file = tmp_path / "phones" / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
        assert LabelledFolder(file, label).attribute(str(file)) == ("", "phones")


def test_a_single_file_here_is_one_of_this_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.jpg").touch()
    assert LabelledFolder(Path("a.jpg"), Label.REAL).attribute("a.jpg") == ("", tmp_path.name)
