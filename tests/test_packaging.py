"""The mapping of folders onto packages is complete."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("cli", "engine", "index", "train")


def test_every_folder_with_code_is_a_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        file.parent.relative_to(ROOT).as_posix()
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
    }
    packages = {"code_forensics." + folder.replace("/", ".") for folder in folders}
    assert set(settings["packages"]) == packages
    assert settings["package-dir"] == {
        "code_forensics." + folder.replace("/", "."): folder for folder in folders
    }
    for folder in folders:
        assert (ROOT / folder / "__init__.py").is_file()
        assert (ROOT / folder / "py.typed").is_file()


def test_type_checkers_see_the_rooms() -> None:
    for room in ROOMS:
        link = ROOT / ".typing" / "code_forensics" / room
        assert link.resolve() == (ROOT / room).resolve()
