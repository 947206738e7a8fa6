"""Time that an archive may take: by a clock that ticks once whenever it is read."""

import io
import itertools
import zipfile

import pytest
from code_forensics.engine.archives import limits
from code_forensics.engine.archives.limits import ArchiveLimits

from tests.engine.archive_samples import walk, zip_of

MANY = zip_of({f"{n}.jpg": b"x" for n in range(200)}, zipfile.ZIP_STORED)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(limits.time, "process_time", lambda: next(ticks))


def test_an_archive_that_takes_long_is_given_up() -> None:
    members, error, _ = walk(MANY, ArchiveLimits(seconds=50))
    assert 0 < len(members) < 50
    assert error is not None
    assert (error.reason, error.detail) == ("archive_bomb", "it takes long; the limit is 50 s")
    assert walk(MANY, ArchiveLimits(seconds=100_000))[1] is None


def test_a_large_archive_may_take_longer() -> None:
    file = io.BytesIO(MANY)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("last.bin", bytes(4 << 20))
    members, _, _ = walk(MANY, ArchiveLimits(seconds=10))
    more, _, _ = walk(file.getvalue(), ArchiveLimits(seconds=10))
    assert len(more) > len(members)


def test_the_seconds_are_given_as_the_other_limits_are() -> None:
    assert ArchiveLimits.parse("seconds=5") == ArchiveLimits(seconds=5)
    assert ArchiveLimits.parse("depth=2").seconds == 600
