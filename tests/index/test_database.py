"""Many rows with few statements."""

import sqlite3

import pytest
from code_forensics.index.database import _PARAMETERS, insert_rows


@pytest.mark.parametrize("count", [0, 1, _PARAMETERS // 3, _PARAMETERS // 3 + 1, 1000])
def test_all_rows_are_inserted_in_few_statements(count: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a PRIMARY KEY, b, c)")
    rows = [(number, number / 3, f"{number}") for number in range(count)]
    said: list[str] = []
    connection.set_trace_callback(said.append)
    insert_rows(connection, "INSERT OR REPLACE INTO t", rows)
    connection.set_trace_callback(None)
    assert connection.execute("SELECT * FROM t ORDER BY a").fetchall() == rows
    inserts = [line for line in said if line.startswith("INSERT")]
    assert len(inserts) == -(-count // (_PARAMETERS // 3))


def test_one_row_may_be_wider_than_a_statement_should_be() -> None:
    connection = sqlite3.connect(":memory:")
    columns = ", ".join(f"c{number}" for number in range(_PARAMETERS + 1))
    connection.execute(f"CREATE TABLE t ({columns})")
    try:
        insert_rows(connection, "INSERT INTO t", [range(_PARAMETERS + 1)] * 2)
    except sqlite3.OperationalError as error:  # an SQLite that allows 999, or fewer columns
        pytest.skip(str(error))
    assert connection.execute("SELECT COUNT(*) FROM t").fetchone() == (2,)
