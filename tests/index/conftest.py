"""Workspaces that several files of tests begin with."""

from pathlib import Path

import pytest
from code_forensics.index.workspace import Workspace

from tests.index.stored import make_workspace, record_scan, vector_of


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """Scan 1 of a/ (0-9), scan 2 of b/ (5-14), and a FAISS file of both."""
    workspace = make_workspace(tmp_path / "ws")
    record_scan(workspace, "a", range(10))
    record_scan(workspace, "b", range(5, 15))
    (collection,) = workspace.scanned.collections()
    workspace.scanned.search(collection, vector_of(0)[None], 1)
    yield workspace
    workspace.close()
