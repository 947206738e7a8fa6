"""What was purged from a scan, in words: its own rows, and those of the scans that it came from."""

from typing import Any

import pytest
from code_forensics.engine.report.purges import digests_before, purges_in_words


def purge(rows: int, gallery: bool = False, intact: bool | None = True) -> dict[str, Any]:
    return {
        "at": "2026-02-03T04:05:06+00:00",
        "rows": rows,
        "gallery": gallery,
        "results_sha256": "a" * 64 if intact is not None else None,
        "intact": intact,
    }


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({}, []),
        ({"purged": [purge(1)]}, ["1 row was purged on 2026-02-03"]),
        ({"purged": [purge(3, intact=None)]}, ["3 rows were purged on 2026-02-03"]),
        (
            {"purged": [purge(0, gallery=True)]},
            ["the references behind the rows were purged with their gallery on 2026-02-03"],
        ),
        (
            {"purged": [purge(2, intact=False)]},
            [
                "2 rows were purged on 2026-02-03, when the rows were no longer those that the"
                " scan had written"
            ],
        ),
        (
            {"rejudged": {"scan": 1, "purged": [purge(2)]}},
            ["2 rows of the scan that was judged again were purged on 2026-02-03"],
        ),
        (
            {"merged": {"shards": [{"shard": "1/2"}, {"shard": "2/2", "purged": [purge(4)]}]}},
            ["4 rows of shard 2/2 were purged on 2026-02-03"],
        ),
    ],
)
def test_phrases(run: dict[str, Any], said: list[str]) -> None:
    assert list(purges_in_words(run)) == said


def test_digests_are_the_scans_own() -> None:
    run = {"purged": [purge(1), purge(1, intact=None)], "rejudged": {"purged": [purge(1)]}}
    assert digests_before(run) == ("a" * 64,)
