"""``code-index``: galleries of real and fake references."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import doctor, evaluate, import_export, merge, pull, search, upkeep
from . import options as opt
from .help import arrange
from .running import EXIT_INTERRUPTED, interruptible, run

if TYPE_CHECKING:
    from ..engine.build import LabelledFolder, ReferenceFile
    from ..engine.embedding.embed import Embedder
    from ..engine.pipeline.contracts import Cluster
    from ..index.gallery_records import NewReference
    from ..index.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Make and keep galleries: the reference images that scans compare with.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The gallery.")]
Real = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Folder of real images; again for more."),
]
Fake = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[GENERATOR=]DIR",
        help="Folder of generated images; without a generator, sub-folders name it.",
    ),
]


@app.command(
    epilog="Example: [bold]code-index build desk --real ./photos"
    " --fake sdxl=./sdxl --fake ./other-generators --weights ./CoDE[/]"
)
def build(
    name: Name,
    real: Real = None,
    fake: Fake = None,
    weights: opt.Weights = None,
    device: opt.Device = opt.DeviceChoice.AUTO,
    precision: opt.ExactPrecision = opt.PrecisionChoice.AUTO,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    follow_symlinks: opt.FollowSymlinks = False,
    max_pixels: opt.MaxPixels = opt.MAX_PIXELS,
    max_bytes: opt.MaxBytes = opt.MAX_BYTES,
    decode_timeout: opt.DecodeTimeout = opt.DECODE_TIMEOUT,
    workers: opt.Workers = 0,
    ray: opt.Ray = "",
    ray_workers: opt.RayWorkers = "",
    ray_gpus: opt.RayGpus = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    workspace: opt.Workspace = None,
) -> None:
    """Build a gallery from folders of real and generated images.

    An interrupted build goes on where it stopped when the command is run again; the gallery
    appears when it is complete. Vectors of references are always float32.
    """
    from ..engine.cluster.on_ray import RayCluster
    from .clusters import encoder_beside, ray_options
    from .session import (
        EncoderChoice,
        assessment_of_gallery,
        encoder_for_build,
        keep_encoder,
    )

    folders = _folders(real, fake)
    cluster = ray_options(ray, ray_workers, ray_gpus, device)
    choice = encoder_beside(cluster, EncoderChoice(weights, device, precision))
    with _open(workspace) as space, space.guarded(), ExitStack() as stack:
        space.galleries.check_new(name)
        embedder, checkpoint = encoder_for_build(space, choice)
        keep_encoder(space, embedder, checkpoint)
        bounds = (max_pixels, max_bytes, decode_timeout)
        files = _Files(include, exclude, follow_symlinks, bounds, workers, quiet)
        elsewhere = None
        if cluster is not None:
            elsewhere = stack.enter_context(RayCluster(cluster)).workers(checkpoint)
        usable = _embed(space, folders, embedder, files, elsewhere)
        references = _references(space, embedder, usable)
        info = space.galleries.create(name, embedder.sha256, _preprocessing(), references, "build")
        assessment_of_gallery(space, info)
    _say_what_is_there("built", info.name, info.reals, info.fakes)


@app.command(epilog="Example: [bold]code-index add desk --fake newgen=./ten-images[/]")
def add(
    name: Name,
    real: Real = None,
    fake: Fake = None,
    device: opt.Device = opt.DeviceChoice.AUTO,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    follow_symlinks: opt.FollowSymlinks = False,
    max_pixels: opt.MaxPixels = opt.MAX_PIXELS,
    max_bytes: opt.MaxBytes = opt.MAX_BYTES,
    decode_timeout: opt.DecodeTimeout = opt.DECODE_TIMEOUT,
    workers: opt.Workers = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    workspace: opt.Workspace = None,
) -> None:
    """Add references to a gallery: all of them, or after an error or Ctrl-C none."""
    from .console import say
    from .session import EncoderChoice, assessment_of_gallery, embedder_of_gallery
    from .starter import gallery_named

    folders = _folders(real, fake)
    with _open(workspace) as space, space.guarded():
        info = gallery_named(space, name)
        choice = EncoderChoice(None, device, opt.PrecisionChoice.FLOAT32)
        embedder = embedder_of_gallery(space, info, choice)
        bounds = (max_pixels, max_bytes, decode_timeout)
        files = _Files(include, exclude, follow_symlinks, bounds, workers, quiet)
        usable = _embed(space, folders, embedder, files)
        before = info.reals + info.fakes
        info = space.galleries.add(name, _references(space, embedder, usable), "add")
        assessment_of_gallery(space, info)
    there = len(usable) - (info.reals + info.fakes - before)
    if there:
        say(f"{there} of {len(usable)} files were references already")
    _say_what_is_there("now holds", info.name, info.reals, info.fakes)


@app.command("list", epilog="Example: [bold]code-index list[/]")
def list_(workspace: opt.Workspace = None) -> None:
    """List the galleries."""
    from . import render
    from .starter import embedded_row

    with _open(workspace) as space, space.guarded():
        chosen = space.default_gallery()
        infos = [space.galleries.info(name) for name in space.galleries.names()]
        embedded = embedded_row(space)
    render.table(
        f"{len(infos)} galleries",
        ("name", "real", "fake", "encoder", "created", ""),
        [
            (
                i.name,
                i.reals,
                i.fakes,
                i.encoder_sha256[:12],
                i.created,
                "default" if i.name == chosen else "",
            )
            for i in infos
        ]
        + embedded,
    )


@app.command(epilog="Example: [bold]code-index info desk[/]")
def info(name: Name, workspace: opt.Workspace = None) -> None:
    """Describe a gallery: identity, encoder, generators and sources."""
    from . import render
    from .starter import gallery_named, starter_facts

    with _open(workspace) as space, space.guarded():
        found = gallery_named(space, name)
        facts = starter_facts(space, found)
        groups = space.galleries.groups(found)
        searches = space.galleries.searches(found)
    render.table(
        f"gallery {found.name}",
        ("", ""),
        [
            ("real references", found.reals),
            ("fake references", found.fakes),
            ("generation", found.generation),
            ("sha256", found.sha256),
            ("encoder", f"{found.encoder_sha256} from {found.encoder_origin}"),
            ("dimensions", found.dimension),
            ("preprocessing", found.preprocessing),
            ("created", found.created),
            *(
                (f"search ({label})", str(search or "every reference is compared"))
                for label, search in searches.items()
            ),
            *facts,
        ],
    )
    render.table(
        "references",
        ("label", "generator", "source", "count"),
        [(g.label, g.generator or "-", g.source or "-", g.count) for g in groups],
    )


@app.command(
    epilog="Examples: [bold]code-index remove desk --generator sdxl[/]   "
    "[bold]code-index remove desk[/]"
)
def remove(
    name: Name,
    source: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE", help="Only references of this source.")
    ] = None,
    generator: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only references by this generator.")
    ] = None,
    sha256: Annotated[
        list[str] | None, typer.Option(metavar="HEX", help="Only references of this file.")
    ] = None,
    workspace: opt.Workspace = None,
) -> None:
    """Take a gallery, or some of its references, out of use.

    What old scans show as evidence stays in the workspace.
    """
    from .console import say

    with _open(workspace) as space, space.guarded():
        if source or generator or sha256:
            count = space.galleries.withdraw(
                name, "remove", source or (), generator or (), sha256 or ()
            )
            say(f"withdrew {count} references from {name}")
        else:
            space.galleries.remove(name)
            say(f"removed {name}")


@app.command(epilog="Example: [bold]code-index default desk[/]")
def default(name: Name, workspace: opt.Workspace = None) -> None:
    """Make a gallery the one that scans use by default."""
    from .console import say
    from .starter import gallery_named

    with _open(workspace) as space, space.guarded():
        gallery_named(space, name)
        space.set_default_gallery(name)
    say(f"scans compare with {name} by default")


class _Files:
    """Which files a build takes, and how."""

    def __init__(
        self,
        include: list[str] | None,
        exclude: list[str] | None,
        follow_symlinks: bool,
        bounds: tuple[int, int, float],
        workers: int,
        quiet: bool,
    ) -> None:
        self.include = tuple(include or ())
        self.exclude = tuple(exclude or ())
        self.follow_symlinks = follow_symlinks
        self.bounds = bounds
        self.workers = workers
        self.quiet = quiet


def _embed(
    space: "Workspace",
    folders: "list[LabelledFolder]",
    embedder: "Embedder",
    files: _Files,
    cluster: "Cluster | None" = None,
) -> "list[ReferenceFile]":
    """Embed folders into the workspace and say what cannot be a reference."""
    from ..engine.build import embed_folders
    from ..engine.decoding.decode import DecodeOptions
    from ..engine.files.discover import WalkOptions, walk
    from ..engine.pipeline.options import PipelineOptions
    from .console import say
    from .progress import meter

    walk_options = WalkOptions(
        follow_symlinks=files.follow_symlinks,
        include=files.include,
        exclude=files.exclude,
        omit=(space.folder,),
    )
    store = space.contents(embedder.sha256, _preprocessing())
    usable: list[ReferenceFile] = []
    walks = [walk([folder.path], walk_options) for folder in folders]
    with interruptible() as stopped, meter("embedding", walks, files.quiet) as progress:
        for found in embed_folders(
            folders,
            store,
            embedder,
            walk_options,
            PipelineOptions(files.workers, decode=DecodeOptions(*files.bounds)),
            stop=stopped,
            cluster=cluster,
        ):
            if found.reason is None:
                usable.append(found)
            elif not files.quiet:
                say(f"left out {found.path}: {found.reason}", "yellow")
            progress.advance("")
        if stopped():
            say("interrupted: what was embedded is kept; run the same command again to go on")
            raise typer.Exit(EXIT_INTERRUPTED)
    _warn_of_conflicts(usable)
    return usable


def _references(
    space: "Workspace", embedder: "Embedder", usable: "list[ReferenceFile]"
) -> "Iterator[NewReference]":
    """What was embedded, with its vectors, one by one."""
    from ..index.gallery_records import NewReference

    store = space.contents(embedder.sha256, _preprocessing())
    for reference in usable:
        content = store.known_content(reference.sha256 or "")
        assert content is not None and content.vector is not None
        yield NewReference(
            reference.label,
            reference.generator,
            reference.source,
            content.vector,
            str(Path(reference.path).absolute()),
            reference.sha256,
        )


def _warn_of_conflicts(usable: "list[ReferenceFile]") -> None:
    from .console import say

    labels: dict[str | None, str] = {}
    conflicts = [r for r in usable if labels.setdefault(r.sha256, r.label) != r.label]
    if conflicts:
        say(
            f"warning: {len(conflicts)} files stand in both classes, first {conflicts[0].path}",
            "yellow",
        )


def _folders(real: list[Path] | None, fake: list[str] | None) -> "list[LabelledFolder]":
    from ..engine.build import LabelledFolder
    from ..engine.errors import InputError
    from ..engine.results import Label

    folders = [LabelledFolder(path, Label.REAL) for path in real or ()]
    for text in fake or ():
        generator, equals, path = text.partition("=")
        if equals and not Path(text).exists():
            folders.append(LabelledFolder(Path(path), Label.FAKE, generator))
        else:
            folders.append(LabelledFolder(Path(text), Label.FAKE))
    if not folders:
        raise InputError("no folder is given", "name folders with --real DIR and --fake DIR")
    for folder in folders:
        if not folder.path.exists():
            raise InputError(f"there is no folder {str(folder.path)!r}")
    return folders


def _open(folder: Path | None) -> "Workspace":
    from ..index.workspace import Workspace, default_folder

    return Workspace(folder or default_folder())


def _preprocessing() -> str:
    from ..engine.decoding.decode import PREPROCESSING

    return PREPROCESSING


def _say_what_is_there(what: str, name: str, reals: int, fakes: int) -> None:
    from .console import say

    say(f"{what} {name}: {reals} real and {fakes} fake references")


doctor.register(app)
evaluate.register(app)
import_export.register(app)
merge.register(app)
pull.register(app)
search.register(app)
upkeep.register(app)


arrange(
    app,
    {
        "Galleries": ("build", "add", "remove", "list", "info", "default"),
        "Quality": ("doctor", "evaluate", "search"),
        "Exchange": ("pull", "import", "export", "heads", "merge"),
        "Upkeep": ("verify", "backup", "restore", "purge"),
    },
)


def main() -> None:
    """Entry point of ``code-index``."""
    run(app)
