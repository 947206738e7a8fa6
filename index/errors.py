"""Errors that a user can cause in a workspace; each says what to do next.

WorkspaceError
├── FileFormatError     a file to import is damaged, unsafe, or not of a kind that can be read
├── GalleryError        a gallery is missing, exists already, or cannot take what is given
├── HubError            the hub cannot be reached, or gives other bytes than it states
├── NoGalleryError      nothing says which gallery to use
└── UnusableWorkspaceError  the folder or its database cannot be opened, read or written
    └── NoWorkspaceError    there is none in the folder
"""


class WorkspaceError(Exception):
    """A problem that the user can solve.

    Attributes:
        hint: What to do next, one sentence; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class FileFormatError(WorkspaceError):
    """A file to import is damaged, unsafe, or not of a kind that can be read."""


class GalleryError(WorkspaceError):
    """A gallery is missing, exists already, or cannot take what is given."""


class HubError(WorkspaceError):
    """The hub cannot be reached, or gives other bytes than it states."""


class NoGalleryError(GalleryError):
    """Nothing says which gallery to use."""


class UnusableWorkspaceError(WorkspaceError):
    """The folder or its database cannot be opened, read or written."""


class NoWorkspaceError(UnusableWorkspaceError):
    """There is none in the folder."""
