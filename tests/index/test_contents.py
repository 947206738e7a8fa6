"""What a workspace knows of contents: later failures and other plans lose nothing of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from code_forensics.index.content_records import ANY_PRECISION, Recall
from code_forensics.index.contents import ContentStore
from code_forensics.index.workspace import Workspace

from tests.index.stored import DIMENSION, ENCODER, STEPS, Content, File, sha256_of, vector_of

FILE, PICTURE = File("/a.png"), Content(sha256_of(1), vector_of(1), provenance={"exif": "x"})
VIEWS = np.stack([vector_of(number) for number in (2, 3, 4, 5)])


class Stores:
    """Stores of one workspace by plan and by what they recall."""

    def __init__(self, space: Workspace) -> None:
        self._space = space
        space.encoders.keep(ENCODER, b"weights", b"{}", DIMENSION, "test")
        (self._encoder,) = space._database.conn.execute("SELECT id FROM encoders").fetchone()

    def __call__(self, plan: str = "", recall: Recall | None = None) -> ContentStore:
        return ContentStore(self._space._database, self._encoder, STEPS, recall or Recall(), plan)


@pytest.fixture
def stores(tmp_path: Path):
    with Workspace(tmp_path / "ws") as space:
        yield Stores(space)


def test_a_later_failure_leaves_what_is_known_of_a_picture(stores: Stores) -> None:
    stores().remember([(FILE, PICTURE)])
    failed = Content(
        PICTURE.sha256, None, None, format=None, width=None, height=None, decoder=None,
        reason="decode_timeout", detail="it took too long",
    )  # fmt: skip
    stores("grid/1").remember([(FILE, failed)])
    known = stores().known_file(FILE)
    assert known is not None and known.reason is None
    assert (known.width, known.height, known.format, known.decoder) == (10, 10, "PNG", "pillow")
    assert known.provenance == PICTURE.provenance
    assert np.array_equal(known.vector, PICTURE.vector)


def test_what_is_learnt_twice_at_once_is_as_if_learnt_in_turn(stores: Stores) -> None:
    """Contents that a transaction brings have nothing yet that would have to go, but once."""
    failed = Content(
        PICTURE.sha256, None, None, format=None, width=None, height=None, decoder=None,
        reason="decode_timeout", detail="it took too long",
    )  # fmt: skip
    reduced = replace(PICTURE, precision="bfloat16", views=VIEWS)
    other = Content(sha256_of(2), vector_of(2))
    store = stores("five/1", Recall(precisions=ANY_PRECISION))
    store.remember([(FILE, failed), (File("/b.png"), other), (FILE, reduced), (FILE, PICTURE)])
    known = store.known_file(FILE)
    assert known.reason is None and known.precision == "float32"
    assert known.views is None  # they were made beside the vector before
    connection = store._connection
    assert connection.execute("SELECT COUNT(*) FROM failures").fetchone() == (0,)
    assert connection.execute("SELECT COUNT(*) FROM views").fetchone() == (0,)


def test_a_scan_without_provenance_leaves_the_known_one(stores: Stores) -> None:
    stores().remember([(FILE, PICTURE)])
    stores("five/1").remember([(FILE, replace(PICTURE, provenance={}, views=VIEWS))])
    assert stores().known_content(PICTURE.sha256).provenance == PICTURE.provenance


def test_further_views_go_with_the_vector_that_they_were_made_beside(stores: Stores) -> None:
    any_precision = Recall(precisions=ANY_PRECISION)
    reduced = replace(PICTURE, precision="bfloat16", views=VIEWS)
    stores("five/1").remember([(FILE, reduced)])
    assert len(stores("five/1", any_precision).known_file(FILE).views) == 4
    stores("five/1").remember([(FILE, reduced)])  # a copy of the file: the same again
    assert len(stores("five/1", any_precision).known_file(FILE).views) == 4
    stores().remember([(FILE, replace(PICTURE, vector=vector_of(9)))])
    known = stores("five/1").known_file(FILE)
    assert known.precision == "float32" and known.views is None


@pytest.mark.parametrize(
    ("here", "there", "views"),
    [
        (None, PICTURE, None),
        (replace(PICTURE, vector=None, reason="decode_timeout"), PICTURE, None),
        (PICTURE, replace(PICTURE, views=VIEWS), 4),
        (PICTURE, replace(PICTURE, views=VIEWS, precision="bfloat16"), None),  # stays exact
        (replace(PICTURE, vector=vector_of(8), precision="bfloat16"), PICTURE, None),
        (replace(PICTURE, views=VIEWS), replace(PICTURE, vector=vector_of(8)), 4),
    ],
    ids=["unknown", "failed", "the middle alone", "the middle, exact", "less exact", "all"],
)
def test_another_workspace_brings_what_is_missing(
    stores: Stores, here: Content | None, there: Content, views: int | None, tmp_path: Path
) -> None:
    recall = Recall(precisions=ANY_PRECISION)
    with Workspace(tmp_path / "other") as other:
        others = Stores(other)
        others("five/1").remember([(FILE, there)])
        theirs = others("five/1", recall).known_content(PICTURE.sha256)
    if here is not None:
        stores("five/1").remember([(FILE, here)])
    stores("five/1", recall).bring([theirs])
    known = stores("five/1", recall).known_content(PICTURE.sha256)
    assert (known.reason, known.precision) == (None, "float32")
    assert np.array_equal(known.vector, PICTURE.vector)
    assert (None if known.views is None else len(known.views)) == views


@pytest.mark.parametrize("year", [-9999, 1600, 2262, 2300, 9999])
def test_a_file_of_any_year_is_known_again(stores: Stores, year: int) -> None:
    """SQLite's integers end with the nanoseconds of 2262."""
    file = replace(FILE, mtime_ns=(year - 1970) * 31_556_952 * 10**9)
    stores().remember([(file, PICTURE)])
    assert stores().known_file(file) is not None
    assert stores().known_file(replace(file, mtime_ns=1)) is None
