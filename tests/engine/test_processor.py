"""What is told of the processor without PyTorch."""

from pathlib import Path

import pytest
from code_forensics.engine.embedding import processor
from code_forensics.engine.embedding.embed import bfloat16_unit
from code_forensics.engine.embedding.processor import has_amx, rounding_of

XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu sse avx512_bf16 amx_bf16 amx_tile

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n\nHardware\t: x\n"


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in processor._LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processor, "_LISTED", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


def test_amx_is_there_where_the_system_lists_it_and_nothing_limits_it(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed.write_text(XEON)
    assert has_amx()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not has_amx()
    listed.write_text(ARM)
    assert not has_amx()
    listed.unlink()
    assert not has_amx()


def test_rounding_is_that_of_precision_processor_and_environment(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for text in (XEON, XEON.replace("amx_tile", "amx_fp16"), ARM, None):
        if text is None:
            listed.unlink()
        else:
            listed.write_text(text)
        keys.append(rounding_of("cpu", "bfloat16"))
        assert rounding_of("cpu", "bfloat16") == keys[-1]
    keys.append(rounding_of("cpu", "float32"))
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    keys.append(rounding_of("cpu", "float32"))
    assert len(set(keys)) == len(keys)
    assert keys[0].startswith("bfloat16; torch ")
    assert "Intel(R) Xeon(R) Processor" in keys[0]


def test_pytorch_knows_of_the_amx_that_is_listed_here() -> None:
    assert not has_amx() or bfloat16_unit("cpu") == "amx"
