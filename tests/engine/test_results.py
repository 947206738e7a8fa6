"""Rows of a report: which of them a person should look at first."""

from code_forensics.engine.results import FileResult, Label, MostSuspicious, Status, Verdict


def row(path: str, verdict: Verdict, score: float, decision: float | None = None) -> FileResult:
    return FileResult(
        path, "0" * 64, 1, "PNG", 300, 300, Status.SCANNED, knn=Label.FAKE, verdict=verdict,
        score=score, classifier_score=decision,
    )  # fmt: skip


def first(*rows: FileResult) -> list[str]:
    worst = MostSuspicious(3)
    for result in rows:
        worst.add(result)
    return [result.path for result in worst.rows()]


def test_the_likeliest_fakes_come_first_and_then_the_undecided() -> None:
    rows = (
        row("undecided", Verdict.INCONCLUSIVE, 0.9),
        row("weak", Verdict.FAKE, 0.1),
        row("real", Verdict.REAL, 0.9),
        row("sure", Verdict.FAKE, 0.8),
        row("less", Verdict.INCONCLUSIVE, 0.5),
    )
    assert first(*rows) == ["sure", "weak", "undecided"]


def test_a_classifiers_own_decision_orders_its_fakes() -> None:
    weak, sure = row("weak", Verdict.FAKE, 0.3, 0.01), row("sure", Verdict.FAKE, -0.2, 9.0)
    assert first(weak, sure) == ["sure", "weak"]
