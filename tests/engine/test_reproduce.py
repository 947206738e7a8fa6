"""What counts as the same row, and as the same environment, when a scan is done again."""

import os
from dataclasses import replace

import pytest
from code_forensics.engine.arguments import pipeline_of
from code_forensics.engine.decoding.decode import LONGEST
from code_forensics.engine.judging.in_words import arithmetic_in_words
from code_forensics.engine.reproduce import Outcome, compare
from code_forensics.engine.results import FileResult, Status, Verdict
from code_forensics.engine.run import environment_changes

ROW = FileResult(
    "a", "0" * 64, 1, "PNG", 300, 300, Status.CACHED, verdict=Verdict.REAL,
    margin=-0.2, real_similarity=0.9, fake_similarity=0.7, score=-0.2, p_fake=0.1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, Outcome.REPRODUCED),
        ({"status": Status.DUPLICATE}, Outcome.REPRODUCED),
        ({"score": -0.2 + 5e-6, "p_fake": 0.1001}, Outcome.AGREES),
        ({"score": -0.2 + 5e-6, "verdict": Verdict.INCONCLUSIVE}, Outcome.DIFFERS),
        ({"classifier": "linear"}, Outcome.DIFFERS),
        ({"status": Status.FAILED, "verdict": None}, Outcome.DIFFERS),
        ({"sha256": "1" * 64}, Outcome.CHANGED),
        ({"sha256": None}, Outcome.GONE),
    ],
)
def test_outcomes(change: dict, outcome: Outcome) -> None:
    assert compare(ROW, replace(ROW, **change), lambda: True).outcome is outcome
    far = Outcome.DIFFERS if outcome is Outcome.AGREES else outcome
    assert compare(ROW, replace(ROW, **change), lambda: False).outcome is far


def test_changes_of_the_environment_are_named() -> None:
    before = {"packages": {"torch": "2.8", "pillow": "12"}, "host": {"machine": "x", "cores": 2}}
    now = {"packages": {"torch": "2.9"}, "host": {"machine": "x", "cores": os.cpu_count()}}
    assert environment_changes(before, now) == [
        ("pillow", "12", "absent"),
        ("torch", "2.8", "2.9"),
    ]


def test_records_that_state_no_backend_were_pytorch_s() -> None:
    stated = {"encoder": {"precision": "float32", "device": "cpu", "backend": "torch"}}
    before = {"encoder": {"precision": "float32", "device": "cpu"}}
    assert environment_changes(before, stated) == []
    stated["encoder"]["backend"] = "vit_pass 1 amd-avx2"
    assert environment_changes(before, stated) == [("backend", "torch", "vit_pass 1 amd-avx2")]
    assert arithmetic_in_words(before["encoder"]) == "float32 on cpu"
    assert arithmetic_in_words(stated["encoder"]) == "float32 on cpu, vit_pass 1 amd-avx2"


def test_a_scan_of_a_version_without_a_bound_for_decoders_can_be_done_again() -> None:
    arguments = {"decode_timeout": 1e10, "max_pixels": 5}
    options = pipeline_of({"arguments": arguments}, 1).decode
    assert (options.timeout, options.max_pixels) == (LONGEST, 5)
