"""Galleries and scans on disk: SQLite is the truth, FAISS is derived.

``Workspace`` is the way in; it is imported at first sight.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import WorkspaceError
    from .gallery_records import GalleryInfo
    from .scans import ScanInfo
    from .workspace import Workspace

_MODULE_OF = {
    "GalleryInfo": "gallery_records",
    "ScanInfo": "scans",
    "Workspace": "workspace",
    "WorkspaceError": "errors",
}

__all__ = ["GalleryInfo", "ScanInfo", "Workspace", "WorkspaceError"]


def __getattr__(name: str) -> Any:
    """Import a public name at first sight."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion in a notebook."""
    return __all__
