"""Which device is chosen, and whether PyTorch had to be asked."""

import ctypes
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from code_forensics.engine.embedding import devices
from code_forensics.engine.errors import DeviceError

BUILDS = {
    "cpu": "cuda: str | None = None\nhip: str | None = None\n",
    "cuda": "cuda = '13.0'\nhip = None\n",
    "rocm": "cuda = None\nhip = '6.4'\n",
    "unknown": "__version__ = '9.0'\n",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each time that PyTorch is asked; it always finds a GPU."""
    calls: list[bool] = []

    def available() -> bool:
        calls.append(True)
        return True

    monkeypatch.setattr(torch.cuda, "is_available", available)
    return calls


@pytest.mark.parametrize(
    ("build", "driver", "place"),
    [
        ("cpu", True, "cpu"),
        ("cuda", False, "cpu"),
        ("cuda", True, "cuda"),
        ("rocm", False, "cuda"),
        ("unknown", False, "cuda"),
        ("none", False, "cuda"),
    ],
)
def test_torch_is_asked_only_where_it_could_find_a_gpu(
    build: str,
    driver: bool,
    place: str,
    asked: list[bool],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if build in BUILDS:
        (tmp_path / "version.py").write_text(BUILDS[build])
    spec = ModuleSpec("torch", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(devices, "find_spec", lambda _: spec)

    def load(name: str) -> None:
        if not driver:
            raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert devices.resolve_device("auto") == place
    assert asked == [True] * (place == "cuda")
    assert devices.resolve_device("cpu") == "cpu"
    assert devices.resolve_device("cuda") == "cuda"


def test_the_installed_torch_is_understood() -> None:
    """What is told without PyTorch is what it says itself."""
    assert devices.resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert devices._gpu_is_possible() or not torch.cuda.is_available()
    if torch.version.cuda is None and torch.version.hip is None:
        assert not devices._gpu_is_possible()


def test_cuda_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA device is available") as caught:
        devices.resolve_device("cuda")
    assert "--device cpu" in caught.value.hint
    monkeypatch.setattr(devices, "_gpu_is_possible", lambda: True)
    assert devices.resolve_device("auto") == "cpu"
