"""Walk files and directories in a stable order, naming what cannot be walked."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

from ..errors import InputError
from .addresses import fault, is_address, is_prefix, without_password
from .found import FoundFile, Reason
from .shard import Shard


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """Which files belong to a scan.

    Attributes:
        recurse: Descend into sub-directories of the given ones.
        follow_symlinks: Follow symbolic links found while walking; links given as paths are
            always followed. A link to a directory that has been walked is reported instead.
        include: Globs; where any is given, other files are left out.
        exclude: Globs of files and directories that are left out.
        omit: Files and directories that never belong, such as the workspace and the reports.
        shard: The part of all that which belongs; None is the whole.

    A glob without a slash is matched against the name, one with a slash against the path relative
    to the directory that was given, and a pattern is case-sensitive.
    """

    recurse: bool = True
    follow_symlinks: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    omit: tuple[Path, ...] = ()
    shard: Shard | None = None


@dataclass(frozen=True, slots=True)
class _Folder:
    """A directory on the way: its path as found, and without symbolic links; whether it is one."""

    path: str
    real: str
    linked: bool = False


@dataclass(slots=True)
class Walk:
    """An iterable over every file under some paths, each exactly once, in a stable order.

    The order is that of the paths' components, so that it does not depend on the file system or
    on the order of the arguments. Memory does not grow with the number of files, but for the
    names of the directories on the way.

    Attributes:
        roots: The paths and addresses, sorted, without those that lie under another.
        options: Which files belong.
        left_out: Files that the globs left out so far.
        look: Whether servers are asked about files that were given by their addresses; else
            these come without a size and a time.
    """

    roots: Sequence[str]
    options: WalkOptions = field(default_factory=WalkOptions)
    left_out: int = 0
    look: bool = True
    _omit: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[FoundFile]:
        """Walk from the beginning."""
        self.left_out = 0
        self._omit = frozenset(_real(path) for path in self.options.omit)
        for remote, roots in groupby(self.roots, is_address):
            if remote:
                yield from self._addresses(roots)
                continue
            for root in roots:
                yield from self._root(root)

    def _root(self, root: str) -> Iterator[FoundFile]:
        if (wrong := fault(root)) is not None and not os.path.lexists(root):
            yield FoundFile(root, reason=Reason.UNREADABLE, detail=wrong, root=root)
            return
        if _real(root) in self._omit:
            return
        if os.path.isdir(root):  # pathlib's raises where a name is too long or hidden
            yield from self._tree(root, root)
        elif self._belongs(root, os.path.dirname(root), root):
            yield examine(root, root)

    def _addresses(self, roots: Iterable[str]) -> Iterator[FoundFile]:
        from . import remote

        belonging = (
            root
            for root in roots
            if is_prefix(root) or self._belongs(root, os.path.dirname(root), root)
        )
        seen = remote.look(belonging) if self.look else remote.unseen(belonging)
        for root, file in seen:
            if file is not None:
                yield file
                continue
            for found in remote.listing(root, self.options.recurse, self._enters(root)):
                if self._belongs(found.path, root):
                    yield found

    def _enters(self, root: str) -> Callable[[str], bool]:
        return lambda path: not self._excluded(path, root)

    def under(self, path: str, root: str) -> Iterator[FoundFile]:
        """What this walk finds at one path: the file, or the files of the directory.

        Args:
            path: Under `root`, written as the walk itself would write it.
            root: One of the roots.
        """
        folder = os.path.dirname(path)
        while len(folder) > len(root):
            if self._excluded(folder, root) or _real(folder) in self._omit:
                return
            folder = os.path.dirname(folder)
        if _real(path) in self._omit or not os.path.lexists(path):
            return
        if os.path.islink(path) and not self.options.follow_symlinks:
            if self._belongs(path, root):
                yield FoundFile(path, reason=Reason.SYMLINK, root=root)
        elif os.path.isdir(path):
            if self._entered(path, root):
                yield from self._tree(path, root)
        elif self._belongs(path, root):
            yield examine(path, root)

    def _tree(self, path: str, root: str) -> Iterator[FoundFile]:
        """The files of a directory and of those below it.

        On a stack of its own, because recursion ends at a depth that a tree may have.
        """
        first: Iterator[FoundFile | _Folder] = iter((_Folder(path, _real(path)),))
        above: list[tuple[tuple[int, int] | None, Iterator[FoundFile | _Folder]]] = [(None, first)]
        walked: set[tuple[int, int]] = set()  # where links are followed, else it stays empty
        while above:
            child = next(above[-1][1], None)
            if child is None:
                above.pop()
            elif isinstance(child, FoundFile):
                yield child
            else:
                try:
                    status = os.stat(child.path)
                except OSError as error:
                    yield from self._unreadable(child.path, root, error)
                    continue
                here = (status.st_dev, status.st_ino)
                known = child.linked and here in walked
                if not known and all(here != other for other, _ in above):
                    if self.options.follow_symlinks:
                        walked.add(here)
                    above.append((here, self._directory(child, root)))
                elif self._in_shard(child.path, root):
                    yield FoundFile(child.path, reason=Reason.SYMLINK_LOOP, root=root)

    def _directory(self, folder: _Folder, root: str) -> Iterator[FoundFile | _Folder]:
        """What one directory holds: files, and directories that are to be walked."""
        path = folder.path
        try:
            with os.scandir(path) as entries:
                names, folders, links = [], set(), set()
                for entry in entries:
                    names.append(entry.name)
                    if entry.is_symlink():
                        links.add(entry.name)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.add(entry.name)
        except OSError as error:
            yield from self._unreadable(path, root, error)
            return
        for name in sorted(names):
            child = os.path.join(path, name)
            real = _real(child) if name in links else os.path.join(folder.real, name)
            if real in self._omit:
                continue
            if name in links and not self.options.follow_symlinks:
                if self._belongs(child, root):
                    yield FoundFile(child, reason=Reason.SYMLINK, root=root)
            elif name in folders or (name in links and os.path.isdir(child)):
                if self._entered(child, root):
                    yield _Folder(child, real, name in links)
            elif self._belongs(child, root):
                yield examine(child, root)

    def _entered(self, path: str, root: str) -> bool:
        return self.options.recurse and not self._excluded(path, root)

    def _unreadable(self, path: str, root: str, error: OSError) -> Iterator[FoundFile]:
        if self._in_shard(path, root):
            reason = Reason.UNREADABLE_DIRECTORY
            yield FoundFile(path, reason=reason, detail=error.strerror, root=root)

    def _in_shard(self, path: str, root: str) -> bool:
        return self.options.shard is None or self.options.shard.holds(path, root)

    def _belongs(self, path: str, root: str, given: str | None = None) -> bool:
        """Whether a file belongs to the walk; `given` is its root where globs have another."""
        if not self._in_shard(path, root if given is None else given):
            return False
        include = self.options.include
        belongs = not self._excluded(path, root) and (
            not include or any(_matches(path, root, glob) for glob in include)
        )
        self.left_out += not belongs
        return belongs

    def _excluded(self, path: str, root: str) -> bool:
        return any(_matches(path, root, glob) for glob in self.options.exclude)


def walk(
    paths: Sequence[str | Path],
    options: WalkOptions | None = None,
    listed: Iterable[str] = (),
) -> Walk:
    """Prepare a walk over files and directories, and over addresses.

    Args:
        paths: Files and directories; addresses of files, or of prefixes, which end with a slash.
        options: Which files belong.
        listed: The same, from a list: what is not there is a row and no error.

    Raises:
        InputError: A path does not exist, an address cannot be read, or none is given.
    """
    options = options or WalkOptions()
    given, named = {_plain(path) for path in paths}, {_plain(path) for path in listed}
    if not given and not named:
        raise InputError("no path is given", "name a file or a directory to scan")
    roots: list[str] = []
    holders: set[str] = set()  # directories and prefixes, as `_lineage` writes them
    for path in sorted(given | named, key=_components):
        if path in given and not os.path.lexists(path):
            if (wrong := fault(path)) is not None:
                raise InputError(f"{without_password(path)!r} is not read: {wrong}")
            if not is_address(path):
                raise InputError(f"there is no file or directory at {path!r}")
        lineage = _lineage(path)
        # What holds a path stands before it, and right before it where both are written alike.
        if options.recurse and (
            not holders.isdisjoint(lineage)
            or (roots and _itself(roots[-1]) in lineage and _holds_files(roots[-1]))
        ):
            continue
        roots.append(path)
        if path in given and _holds_files(path):
            holders.add(_itself(path))
    _require_readers(roots)
    return Walk(roots, options)


def _plain(path: str | Path) -> str:
    path = os.fspath(path)
    normal = os.path.normpath(path)
    foreign = is_address(path) or (fault(path) is not None and not os.path.lexists(normal))
    return path if foreign else normal


def _require_readers(roots: Iterable[str]) -> None:
    """Find out before anything is done whether there is what reads each kind of address."""
    firsts = {root.partition("://")[0].lower(): root for root in roots if is_address(root)}
    if firsts:
        from . import remote

        for address in firsts.values():
            remote.require(address)


def _components(path: str) -> tuple[str, ...]:
    return Path(path).parts


def _holds_files(path: str) -> bool:
    return is_prefix(path) if is_address(path) else os.path.isdir(path)


def _itself(path: str) -> str:
    return path.rstrip("/") if is_address(path) else os.path.abspath(path)


def _real(path: str | Path) -> str:
    """A path without symbolic links; as it is where one may not be read, or it can be none."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return os.path.abspath(path)


def _lineage(path: str) -> list[str]:
    """A path, and all that it can lie under; an address alone only where it ends with a slash."""
    if is_address(path):
        return [path[: slash.start()] for slash in re.finditer("/", path)]
    lineage = [os.path.abspath(path)]
    while (above := os.path.dirname(lineage[-1])) != lineage[-1]:
        lineage.append(above)
    return lineage


def _matches(path: str, root: str, glob: str) -> bool:
    if "/" in glob:
        relative = os.path.relpath(path, root).replace(os.sep, "/")
        return fnmatchcase(relative, glob.removeprefix("./").rstrip("/"))
    return fnmatchcase(os.path.basename(path), glob)


def examine(path: str, root: str = "") -> FoundFile:
    """Describe one file as a walk would; symbolic links are followed.

    Args:
        path: The file, or its address.
        root: The given path under which it was found.
    """
    if is_address(path):
        from . import remote

        return remote.examine(path, root)
    try:
        status = os.stat(path)
    except OSError as error:
        loop = error.errno == errno.ELOOP
        reason = (
            Reason.SYMLINK_LOOP
            if loop
            else Reason.VANISHED
            if isinstance(error, FileNotFoundError)
            else Reason.UNREADABLE
        )
        return FoundFile(path, reason=reason, detail=error.strerror, root=root)
    except ValueError as error:  # a list may hold what no file system takes
        return FoundFile(path, reason=Reason.UNREADABLE, detail=str(error), root=root)
    if not stat.S_ISREG(status.st_mode):
        return FoundFile(path, reason=Reason.SPECIAL_FILE, root=root)
    return FoundFile(
        path, status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev, root=root
    )
