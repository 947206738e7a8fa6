"""Leases: who is at work in a workspace, told by locks that the system drops with their process."""

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import UnusableWorkspaceError

_SECONDS = 5.0
"""How long a lease is waited for: names are unique, so only a glance of :meth:`Leases.held`."""


def file_lease(token: str) -> str:
    """Name of the lease that is held while the temporary file with this token is written."""
    return f"file-{token}"


class Leases:
    """Named locks, each held by at most one process and by none once that has died.

    A lease is a locked file. What a file says of a process could outlive it, and its number can
    be given to another; a lock cannot.

    Args:
        folder: Where the files lie; made with the first lease.
        sealed: Whether nobody can write there, so that nobody holds one.
    """

    def __init__(self, folder: Path, sealed: bool = False) -> None:
        self._folder = folder
        self._sealed = sealed
        self._mine: dict[str, FileLock] = {}

    def take(self, name: str) -> None:
        """Hold a lease until :meth:`give_back`, :meth:`close` or the end of the process.

        Args:
            name: One that nobody has used before, such as a UUID.

        Raises:
            UnusableWorkspaceError: The folder cannot be written to.
        """
        lock = self._lock(name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=_SECONDS)
        except OSError as error:
            why = error.strerror or error  # a time-out has no such word
            raise UnusableWorkspaceError(
                f"the workspace {self._folder.parent} cannot be written to: {why}",
                "check its permissions and its disk, or name another folder with --workspace",
            ) from error
        self._mine[name] = lock

    def give_back(self, name: str) -> None:
        """End a lease; one that is not held is ignored."""
        lock = self._mine.pop(name, None)
        if lock is not None:
            lock.release()
            self._delete(name)

    def held(self, name: str) -> bool:
        """Whether a living process, this one or another, holds a lease."""
        if name in self._mine:
            return True
        if self._sealed or not self._path(name).exists():
            return False
        lock = self._lock(name)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):  # what cannot be asked must be taken to be alive
            return True
        lock.release()
        return False

    def all_held(self, prefix: str) -> list[str]:
        """The leases in force whose names begin with some text."""
        names = sorted(path.stem for path in self._folder.glob("*.lock"))
        return [name for name in names if name.startswith(prefix) and self.held(name)]

    def sweep(self) -> None:
        """Delete the files of leases that nobody holds any more."""
        for path in self._folder.glob("*.lock"):
            if not self.held(path.stem):
                self._delete(path.stem)

    def close(self) -> None:
        """Give every lease of this object back."""
        for name in list(self._mine):
            self.give_back(name)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

    def _lock(self, name: str) -> FileLock:
        return FileLock(self._path(name), thread_local=False)

    def _delete(self, name: str) -> None:
        with suppress(OSError):  # it is empty and means nothing: the next sweep takes it
            self._path(name).unlink(missing_ok=True)
