"""A workspace: one folder with the database, the FAISS files and the encoders of some cases."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from platformdirs import user_data_path

from .bands import PrecisionBands
from .content_records import Recall
from .contents import ContentStore
from .database import connect, explained, is_sealed, writing
from .encoders import Encoders
from .errors import NoGalleryError, NoWorkspaceError, UnusableWorkspaceError
from .galleries import Galleries
from .gallery_records import GalleryInfo
from .heads import Heads
from .leases import Leases
from .merge import Merger
from .paths import workspace_folder
from .pull_record import Pulls
from .scan_recorder import ScanRecorder
from .scans import Scans
from .searching.faiss_files import FaissFiles
from .searching.scanned_vectors import ScannedVectors
from .starters import CENTER, Starters
from .upkeep.backup import DATABASE_NAME, ENCODERS_NAME, BackedUp, write_backup
from .upkeep.findings import CheckResult
from .upkeep.purge import Purger
from .upkeep.purge_lookup import BUILD_LEASE
from .upkeep.purge_scan import Summarise
from .upkeep.verify import Identify, Parts, Verifier


def default_folder() -> Path:
    """``$CODE_WORKSPACE``, else the platform's folder for user data."""
    chosen = os.environ.get("CODE_WORKSPACE")
    return Path(chosen) if chosen else user_data_path("code-forensics", appauthor=False)


class Workspace:
    """Galleries, encoders and scans in one folder.

    Attributes:
        folder: Where it lies.
        galleries: Its galleries.
        encoders: Its encoders.
        scans: Its scans.
        bands: How far reduced precision may move its galleries' scores.
        heads: Its classifiers beside the galleries.
        pulls: What was pulled from hubs.
        starters: Its copies of starters that packages embed.
        scanned: The vectors of all images that it has seen.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        """Open a workspace, making it where it is missing. One on read-only media can be read.

        Args:
            folder: Where it lies; None for :func:`default_folder`.

        Raises:
            UnusableWorkspaceError: It cannot be opened or made.
        """
        self.folder = workspace_folder(Path(folder or default_folder()))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnusableWorkspaceError(
                f"cannot make the workspace {self.folder}: {error.strerror}",
                "name another folder with --workspace",
            ) from error
        self._path = self.folder / DATABASE_NAME
        sealed = is_sealed(self.folder)
        self._database = connect(self._path, sealed)
        self._leases = Leases(self.folder / "leases", sealed)
        self._files = FaissFiles(self._database, self.folder / "faiss", self._leases)
        self.galleries = Galleries(self._database, self._files)
        self.encoders = Encoders(self._database, self.folder / ENCODERS_NAME, self._leases)
        self.scans = Scans(self._database, self._leases)
        self.bands = PrecisionBands(self._database)
        self.heads = Heads(self._database)
        self.pulls = Pulls(self._database)
        self.starters = Starters(self._database)
        self.scanned = ScannedVectors(self._database, self._files)

    @classmethod
    def existing(cls, folder: str | Path | None = None) -> "Workspace":
        """Open a workspace that is there; nothing is made.

        Args:
            folder: Where it lies; None for :func:`default_folder`.

        Raises:
            NoWorkspaceError: There is none.
            UnusableWorkspaceError: It cannot be opened.
        """
        place = workspace_folder(Path(folder or default_folder()))
        if not os.path.exists(place / DATABASE_NAME):  # noqa: PTH110 - says no, and raises nothing
            raise NoWorkspaceError(
                f"there is no workspace at {place}",
                "name its folder with --workspace; code-scan and code-index build make a new one",
            )
        return cls(place)

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database, and give up what this object holds."""
        self._leases.close()
        self._database.close()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Within it, a failing database gives an error of one clear line."""
        with explained(self._path):
            yield

    def k_of_gallery(self, name: str) -> int:
        """References of each class behind a score, by default: a starter says how many, else 1."""
        return next((starter.k for starter in self.starters.all() if starter.name == name), 1)

    def crops_of_gallery(self, name: str) -> str:
        """Name of the layout of crops, by default: a starter says which, else the middle alone."""
        every = self.starters.all()
        return next((starter.crops for starter in every if starter.name == name), CENTER)

    def choose_gallery(self, name: str | None = None) -> GalleryInfo:
        """The named gallery, else the default, else the only own one, the pulled one, the starter.

        A pulled one and starters are not one's own: beside them a single gallery is the only one.

        Raises:
            NoGalleryError: There is none, or several and no default.
            GalleryError: There is none of that name.
        """
        if name is not None:
            return self.galleries.info(name)
        chosen = self.default_gallery()
        names = self.galleries.names()
        if chosen is not None and chosen in names:
            return self.galleries.info(chosen)
        starters = [starter.name for starter in self.starters.all()]
        pulled = self.pulls.gallery()
        others = {*starters, *([pulled.name] if pulled else [])}
        own = [name for name in names if name not in others]
        if len(own) == 1:
            return self.galleries.info(own[0])
        if pulled is not None:
            return self.galleries.info(pulled.name)
        if own:
            raise NoGalleryError(
                f"there are several galleries and no default: {', '.join(own)}",
                f"choose one with --gallery, or for good: code-index default {own[0]}",
            )
        if starters:
            return self.galleries.info(starters[-1])
        raise NoGalleryError(
            f"the workspace {self.folder} holds no gallery to compare with",
            "build one with: code-index build NAME --real DIR --fake DIR; bring vectors with:"
            " code-index import NAME FILE.npz; or take the embedded one: code-index info starter",
        )

    def default_gallery(self) -> str | None:
        """Name of the default gallery, if one is set."""
        row = self._database.conn.execute(
            "SELECT value FROM settings WHERE key = 'gallery'"
        ).fetchone()
        return None if row is None else str(row[0])

    def set_default_gallery(self, name: str) -> None:
        """Make a gallery the one that scans use by default.

        Raises:
            GalleryError: There is none of that name.
        """
        self.galleries.info(name)
        with writing(self._database) as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES ('gallery', ?)", (name,))

    def recorder(
        self,
        gallery: GalleryInfo,
        run: Mapping[str, Any],
        recall: Recall | None = None,
        plan: str = "",
    ) -> ScanRecorder:
        """Begin a scan against a gallery.

        Args:
            gallery: What is compared with.
            run: The run record, JSON-able.
            recall: How much of what is known may be used.
            plan: Which views are taken beside the centre crop; empty for none.
        """
        key = self.encoders.find(gallery.encoder_sha256).key
        return ScanRecorder(
            self._database, key, gallery, run, recall or Recall(), plan, self._leases
        )

    def verify(self, identify: Identify, files: bool = False) -> Iterator[CheckResult]:
        """Check everything that the workspace holds, and repair what is derived.

        Args:
            identify: Computes an encoder's identity from its folder.
            files: Also read every scanned file again.

        Yields:
            What each check found, when it is done.
        """
        parts = Parts(
            self.galleries, self.scans, self.encoders, self.scanned, self._files, self._leases
        )
        return Verifier(self._database, parts, identify).run(files)

    def purger(self, summarise: Summarise) -> Purger:
        """What removes things for good.

        Args:
            summarise: Makes the summary of the rows that a scan keeps.
        """
        return Purger(self._database, self.scans, self._files, self._leases, summarise)

    def merger(self) -> Merger:
        """What brings the shards of a scan together here."""
        return Merger(self._database, self.galleries, self.scans)

    def backup(self, target: Path) -> BackedUp:
        """Write a copy of everything that is not derived; see :func:`backup.write_backup`."""
        return write_backup(self._database, self.folder / ENCODERS_NAME, target)

    def contents(
        self, encoder_sha256: str, preprocessing: str, recall: Recall | None = None
    ) -> ContentStore:
        """Memory of contents, for building a gallery.

        Until the workspace is closed, nothing is purged that the build may count on.
        """
        key = self.encoders.find(encoder_sha256).key
        self._leases.take(f"{BUILD_LEASE}{uuid4()}")
        return ContentStore(self._database, key, preprocessing, recall or Recall())
