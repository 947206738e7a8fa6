"""Downloads named files of a hub's repository, each checked against the hash that the hub states.

The hub's own library does the talking, so ``HF_ENDPOINT``, ``HF_HOME``, ``HF_HUB_OFFLINE``, tokens
and proxies work as they do everywhere. A file that breaks off is continued, also by a later
process, from what lies in the library's cache as ``blobs/HASH.incomplete``; it gets its name only
after its hash is right. Nothing is read from the cache whose hash nobody stated.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from .errors import HubError
from .importing.stated_hashes import FetchedFile, StatedFile, checked, content_hash

MAX_BYTES = 1 << 30
"""Largest file that is fetched: 27 times the published gallery."""

_COMMIT = re.compile("[0-9a-f]{40}")
_BLOCK = 1 << 18  # what a broken connection can lose; the library would write 10 MB at a time


@dataclass(frozen=True, slots=True)
class Source:
    """Where to fetch from.

    Attributes:
        repo: ``owner/name``.
        revision: Branch, tag or commit.
        endpoint: The hub's address; None is ``$HF_ENDPOINT``, else the public hub.
        cache: The library's cache; None is the one below ``$HF_HOME``.
    """

    repo: str
    revision: str = "main"
    endpoint: str | None = None
    cache: Path | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """Files of one commit.

    Attributes:
        commit: What the revision was resolved to.
        files: In the order asked for.
    """

    commit: str
    files: tuple[FetchedFile, ...]

    def __getitem__(self, name: str) -> FetchedFile:
        return next(file for file in self.files if file.name == name)


def fetch(
    source: Source, names: Sequence[str], stated_before: Sequence[StatedFile] = ()
) -> Fetched:
    """Fetch files of one commit, from the hub or, in offline mode, from the library's cache.

    Args:
        source: Repository and revision.
        names: Files wanted.
        stated_before: What the hub stated at an earlier time, for offline mode on systems whose
            cache has no links, which otherwise name the hash.

    Raises:
        HubError: The hub cannot be reached, states nothing of a file, or gives other bytes.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return _from_cache(source, names, {file.name: file for file in stated_before})
    commit, stated = _ask(source, names)
    files = tuple(_download(source, commit, file) for file in stated)
    if files and source.revision != commit:
        # The library notes which commit the branch is at, for offline mode.
        with _explained(source):
            _library_download(source, min(stated, key=lambda file: file.bytes).name)
    return Fetched(commit, files)


def _ask(source: Source, names: Sequence[str]) -> tuple[str, list[StatedFile]]:
    """The commit of a revision, and what the hub states of its files."""
    from huggingface_hub import HfApi

    with _explained(source):
        found = HfApi(endpoint=source.endpoint).model_info(
            source.repo, revision=source.revision, files_metadata=True
        )
    commit = str(found.sha or "")
    if not _COMMIT.fullmatch(commit):
        raise HubError(f"the hub names no commit for {source.repo}@{source.revision}")
    siblings = {sibling.rfilename: sibling for sibling in found.siblings or ()}
    files = []
    for name in names:
        sibling = siblings.get(name)
        if sibling is None:
            raise HubError(
                f"{source.repo}@{commit[:12]} holds no {name}",
                "choose another revision with --revision",
            )
        stated = str((sibling.lfs.sha256 if sibling.lfs else sibling.blob_id) or "")
        size = sibling.lfs.size if sibling.lfs else sibling.size
        if not isinstance(size, int) or not content_hash(b"", stated):
            raise HubError(f"the hub states no hash of {name}: it is not fetched")
        if not 0 <= size <= MAX_BYTES:
            raise HubError(f"the hub states {size} bytes for {name}: it is not fetched")
        files.append(StatedFile(name, size, stated))
    return commit, files


def _download(source: Source, commit: str, file: StatedFile) -> FetchedFile:
    """The bytes of a file, by way of the library's cache."""
    from filelock import FileLock

    folder = _repository(source)
    blob = folder / "blobs" / file.stated
    lock = folder.parent / ".locks" / folder.name / f"{file.stated}.pull.lock"
    with _explained(source):
        for path in (blob, lock):
            path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):  # another process waits here, and then finds the file
            if not blob.is_file():
                _continue(source, commit, file, blob)
        found = _library_download(replace(source, revision=commit), file.name)
        return _checked_or_deleted(file, found)


def _library_download(source: Source, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(
        hf_hub_download(
            source.repo,
            name,
            revision=source.revision,
            endpoint=source.endpoint,
            cache_dir=source.cache,
        )
    )


def _continue(source: Source, commit: str, file: StatedFile, blob: Path) -> None:
    """Download into ``HASH.incomplete``, from where it ends, and name it if its hash is right."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(source.repo, file.name, revision=commit, endpoint=source.endpoint)
    part = blob.with_name(f"{blob.name}.incomplete")
    with part.open("ab") as handle:
        there = handle.seek(0, 2)
        if there > file.bytes:
            there = handle.seek(handle.truncate(0))
        if there < file.bytes:
            chunk, constants.DOWNLOAD_CHUNK_SIZE = constants.DOWNLOAD_CHUNK_SIZE, _BLOCK
            try:
                http_get(
                    url,
                    _Bounded(handle, file.bytes),  # type: ignore[arg-type]
                    resume_size=there,
                    headers=build_hf_headers(),
                    expected_size=file.bytes,
                    displayed_filename=file.name,
                )
            finally:
                constants.DOWNLOAD_CHUNK_SIZE = chunk
    _checked_or_deleted(file, part)
    part.replace(blob)


def _checked_or_deleted(file: StatedFile, path: Path) -> FetchedFile:
    """The file as it was stated; other bytes are deleted, to be fetched anew."""
    try:
        return checked(file, _read(path))
    except HubError:
        for wrong in {path.resolve(), path}:
            wrong.unlink(missing_ok=True)
        raise


class _Bounded:
    """A file that refuses more bytes than were stated: an endless answer must not fill the disk."""

    def __init__(self, handle: BinaryIO, limit: int) -> None:
        self._handle = handle
        self._limit = limit

    def write(self, data: bytes) -> int:
        if self._handle.tell() + len(data) > self._limit:
            raise OSError("the server sends more than the hub states")
        return self._handle.write(data)

    def tell(self) -> int:
        return self._handle.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._handle.seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        return self._handle.truncate(size)


def _from_cache(source: Source, names: Sequence[str], known: dict[str, StatedFile]) -> Fetched:
    """Files of the cache; links there are named by the hashes that the hub stated."""
    from huggingface_hub import hf_hub_download

    commits, files = set(), []
    for name in names:
        with _explained(source):
            path = Path(
                hf_hub_download(
                    source.repo,
                    name,
                    revision=source.revision,
                    cache_dir=source.cache,
                    local_files_only=True,
                )
            )
            data = _read(path)
        commits.add(path.parents[name.count("/")].name)  # .../snapshots/COMMIT/NAME
        stated = path.resolve().name if path.is_symlink() else ""
        if not content_hash(b"", stated):
            stated = known[name].stated if name in known else ""
        if not stated:
            raise HubError(
                f"nothing in the cache says what the hub states of {name}",
                "pull it once with a connection",
            )
        files.append(checked(StatedFile(name, len(data), stated), data))
    if len(commits) != 1:
        raise HubError(
            f"the cache holds files of {len(commits)} commits as {source.revision}",
            "pull again with a connection, or name a commit with --revision",
        )
    return Fetched(commits.pop(), tuple(files))


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise HubError(f"{path.name} in the cache is larger than {MAX_BYTES} bytes")
    return path.read_bytes()


def _repository(source: Source) -> Path:
    """Folder of a repository in the library's cache, as its documentation lays it out."""
    from huggingface_hub import constants

    root = Path(source.cache or constants.HF_HUB_CACHE)
    return root / f"models--{source.repo.replace('/', '--')}"


@contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Turn what the library raises into one line that says what to do."""
    from huggingface_hub import constants, errors

    what = f"{source.repo}@{source.revision}"
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"the hub has no revision {source.revision!r} of {source.repo}",
            "name a branch, tag or commit of it with --revision",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"the hub shows no repository {source.repo}",
            "check the name given with --repo; a private one needs a token in HF_TOKEN",
        ) from error
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError,
        errors.HTTPError,  # type: ignore[attr-defined]
    ) as error:  # fmt: skip
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        if constants.HF_HUB_OFFLINE:
            raise HubError(
                f"{what} is not in the cache below {constants.HF_HUB_CACHE}, and this is offline"
                " mode",
                "unset HF_HUB_OFFLINE, or bring the cache from a machine that has pulled it",
            ) from error
        raise HubError(
            f"cannot fetch {what}: {reason}",
            "check the connection and HF_ENDPOINT, then run the same command again:"
            " it goes on where it stopped",
        ) from error
