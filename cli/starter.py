"""The embedded starter in a workspace: installed when it is needed, and said to be used."""

from typing import TYPE_CHECKING

from ..index.starters import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from ..engine.embedding.checkpoint import Checkpoint
    from ..engine.starter.read import About
    from ..index.gallery_records import GalleryInfo
    from ..index.starters import InstalledStarter
    from ..index.workspace import Workspace


def chosen_gallery(space: "Workspace", name: str | None) -> "GalleryInfo":
    """The gallery that a scan compares with; if that is the starter unasked, it is said, and why.

    Raises:
        NoGalleryError: There are several and no default.
        GalleryError: There is none of that name.
    """
    if name is not None:
        return gallery_named(space, name)
    if not space.galleries.names():
        install_starter(space)
    info = space.choose_gallery()
    if any(starter.name == info.name for starter in space.starters.all()):
        _say_what_it_is(space, info)
    return info


def workspace_of(folder: "Path | None", name: str) -> "Workspace":
    """The workspace that holds a gallery; only for the embedded starter a missing one is made.

    Raises:
        UnusableWorkspaceError: There is none, or it cannot be opened or made.
    """
    from ..index.workspace import Workspace

    return Workspace(folder) if name == NAME else Workspace.existing(folder)


def gallery_named(space: "Workspace", name: str) -> "GalleryInfo":
    """A gallery by its name; the starter is installed when it is asked for by its own.

    Raises:
        GalleryError: There is none of that name.
    """
    if name not in space.galleries.names() and name in [row[0] for row in embedded_row(space)]:
        return install_starter(space)
    return space.galleries.info(name)


def install_starter(space: "Workspace") -> "GalleryInfo":
    """Copy the embedded starter into a workspace, in one transaction; one that is there stays.

    Two processes that do it at once install it once. A starter of an earlier package stays what
    it is, so that a case goes on with the references that it began with.

    Raises:
        CheckpointError: The package is damaged.
    """
    from ..engine.embedding.deferred import DeferredEmbedder
    from ..engine.starter.read import read_starter
    from ..index.errors import GalleryError
    from ..index.importing.ready_vectors import read_safetensors
    from ..index.starters import starter_action
    from .encoders import keep_encoder

    names = space.galleries.names()  # before the next line: else another process's might be taken
    there = space.starters.current()  # for a user's own gallery of that name
    if there is not None:
        return space.galleries.info(there.name)
    starter = read_starter()
    about = starter.about
    embedder = DeferredEmbedder(starter.checkpoint, "cpu")
    ready = read_safetensors(starter.gallery, embedder.dimension)
    keep_encoder(space, embedder, starter.checkpoint)
    name = NAME if NAME not in names else _other_name(about)
    try:
        info = space.galleries.create(
            name,
            about.encoder_sha256,
            about.preprocessing,
            ready.references(),
            starter_action(about.gallery_sha256, about.k, about.crops),
        )
    except GalleryError:
        there = space.starters.current()  # another process was faster
        if there is None:
            raise
        return space.galleries.info(there.name)
    space.galleries.keep_assessment(info, about.k, starter.assessment)
    return info


def starter_encoder(space: "Workspace") -> "Checkpoint":
    """The encoder of the workspace's starter, else of the embedded one; nothing is installed.

    Raises:
        CheckpointError: The package is damaged.
    """
    from ..engine.embedding.checkpoint import read_checkpoint
    from ..engine.starter.read import read_starter

    there = space.starters.current()
    if there is None:
        return read_starter().checkpoint
    encoder = space.encoders.find(space.galleries.info(there.name).encoder_sha256)
    return read_checkpoint(encoder.folder)


def embedded_row(space: "Workspace | None") -> list[tuple[str, int, int, str, str, str]]:
    """The embedded starter as a row of the list of galleries, as long as it is not installed."""
    from ..engine.starter.read import read_about

    if space is not None and space.starters.current() is not None:
        return []
    about = read_about()
    taken = space is not None and NAME in space.galleries.names()
    name = _other_name(about) if taken else NAME
    return [(name, about.reals, about.fakes, about.encoder_sha256, "", "embedded")]


def starter_facts(space: "Workspace", info: "GalleryInfo") -> list[tuple[str, str]]:
    """What there is to be known of a starter's gallery beside others'; nothing of those."""
    from ..engine.starter.read import CARD_NAME, EMBEDDED, read_about

    installed = next((s for s in space.starters.all() if s.name == info.name), None)
    if installed is None:
        return []
    about = read_about()
    facts = [("neighbours (-k)", str(installed.k)), ("crops (--crops)", installed.crops)]
    if not _is_current(installed, about):
        return [*facts, ("model card", "with the version of code-forensics that embedded it")]
    return [*facts, ("licence", about.licence), ("model card", str(EMBEDDED / CARD_NAME))]


def _other_name(about: "About") -> str:
    """What the starter is called where the user has a gallery of its name."""
    return f"{NAME}-{about.gallery_sha256[:8]}"


def _is_current(installed: "InstalledStarter", about: "About") -> bool:
    """Whether it is this package's, made for the same; the same references may serve two."""
    kept = installed.sha256, installed.k, installed.crops
    return kept == (about.gallery_sha256, about.k, about.crops)


def _say_what_it_is(space: "Workspace", info: "GalleryInfo") -> None:
    from ..engine.starter.read import read_about
    from .console import say

    installed = next(s for s in space.starters.all() if s.name == info.name)
    about = read_about()
    current = _is_current(installed, about)
    default = space.default_gallery() == info.name
    why = "it is the workspace's default" if default else "there is no gallery of your own"
    say(
        f"comparing with the embedded starter ({info.reals} real, {info.fakes} fake references"
        + (f", {about.licence}" if current else "")
        + f"), as {why}; its error rates: code-index info {info.name}"
    )
    if not current:
        say(
            f"note: the workspace keeps the starter of an earlier version, {installed.sha256[:12]}"
            f" (-k {installed.k}, --crops {installed.crops}); to take this version's:"
            f" code-index remove {info.name}",
            "yellow",
        )
