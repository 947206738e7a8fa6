"""``code-index``: galleries of real and fake references."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import building, doctor, evaluate, import_export, merge, pull, search, upkeep
from . import options as opt
from .console import counted
from .help import arrange
from .running import run

if TYPE_CHECKING:
    from ..index.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def _program(_version: opt.Version = False) -> None:
    """Make and keep galleries: the reference images that scans compare with."""


Name = Annotated[str, typer.Argument(metavar="NAME", help="The gallery.")]
Real = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="DIR", help="Folder of real images; again for more.", parser=opt.named_path
    ),
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
    weights: opt.NewWeights = None,
    device: opt.Device = opt.DeviceChoice.AUTO,
    precision: opt.ExactPrecision = opt.PrecisionChoice.AUTO,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    follow_symlinks: opt.FollowSymlinks = False,
    max_pixels: opt.MaxPixels = opt.MAX_PIXELS,
    max_bytes: opt.MaxBytes = opt.MAX_BYTES,
    decode_timeout: opt.DecodeTimeout = opt.DECODE_TIMEOUT,
    workers: opt.SharedWorkers = 0,
    processes: opt.Processes = 0,
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
    from .clusters import encoder_beside, helpers, ray_options, started
    from .encoders import EncoderChoice, keep_encoder
    from .session import assessment_of_gallery, encoder_for_build

    folders = building.labelled_folders(real, fake)
    others = helpers(processes, device, ray_options(ray, ray_workers, ray_gpus, device))
    choice = encoder_beside(others, EncoderChoice(weights, device, precision))
    with _open(workspace) as space, space.guarded(), ExitStack() as stack:
        space.galleries.check_new(name)
        embedder, checkpoint = encoder_for_build(space, choice)
        keep_encoder(space, embedder, checkpoint)
        bounds = (max_pixels, max_bytes, decode_timeout)
        files = building.Files(include, exclude, follow_symlinks, bounds, workers, quiet)
        elsewhere = None
        if others is not None:
            elsewhere = stack.enter_context(started(others)).workers(checkpoint)
        usable = building.embed(space, folders, embedder, files, elsewhere)
        references = building.references(space, embedder, usable)
        steps = building.preprocessing()
        info = space.galleries.create(name, embedder.sha256, steps, references, "build")
        assessment_of_gallery(space, info)
    building.say_copies(usable, info.reals + info.fakes)
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
    from .encoders import EncoderChoice, embedder_of_gallery
    from .session import assessment_of_gallery
    from .starter import gallery_named, workspace_of

    folders = building.labelled_folders(real, fake)
    with workspace_of(workspace, name) as space, space.guarded():
        info = gallery_named(space, name)
        choice = EncoderChoice(None, device, opt.PrecisionChoice.FLOAT32)
        embedder = embedder_of_gallery(space, info, choice)
        bounds = (max_pixels, max_bytes, decode_timeout)
        files = building.Files(include, exclude, follow_symlinks, bounds, workers, quiet)
        usable = building.embed(space, folders, embedder, files, held=space.galleries.held(info))
        before = info.reals + info.fakes
        info = space.galleries.add(info, building.references(space, embedder, usable), "add")
        assessment_of_gallery(space, info)
    building.say_copies(usable, info.reals + info.fakes - before)
    _say_what_is_there("now holds", info.name, info.reals, info.fakes)


@app.command("list", epilog="Example: [bold]code-index list[/]")
def list_(jsonl: opt.Jsonl = None, workspace: opt.Workspace = None) -> None:
    """List the galleries, the embedded starter among them."""
    from ..index.errors import NoWorkspaceError
    from ..index.workspace import Workspace
    from . import outputs, render
    from .console import say
    from .starter import embedded_row

    chosen, infos, embedded = None, [], embedded_row(None)
    try:
        with Workspace.existing(workspace) as space, space.guarded():
            chosen = space.default_gallery()
            infos = [space.galleries.info(name) for name in space.galleries.names()]
            embedded = embedded_row(space)
    except NoWorkspaceError as error:
        say(f"{error} yet")
    rows = [
        (
            i.name,
            i.reals,
            i.fakes,
            i.encoder_sha256,
            i.created,
            "default" if i.name == chosen else "",
        )
        for i in infos
    ] + embedded
    if jsonl:
        names = ("gallery", "real", "fake", "encoder", "created", "state")
        outputs.write_list(jsonl, (dict(zip(names, row, strict=True)) for row in rows))
    if jsonl == outputs.STDOUT:
        return
    own = counted(len(infos), "gallery", "galleries")
    render.table(
        own if infos or not embedded else "no gallery but the embedded starter",
        ("name", "real", "fake", "encoder", "created", ""),
        [(*row[:3], row[3][:12], *row[4:]) for row in rows],
    )


@app.command(epilog="Example: [bold]code-index info desk[/]")
def info(name: Name, workspace: opt.Workspace = None) -> None:
    """Describe a gallery: identity, encoder, separation, generators and sources."""
    from ..engine.evaluation.separation import check_separation
    from . import render
    from .session import assessment_of_gallery
    from .starter import gallery_named, starter_facts, workspace_of

    with workspace_of(workspace, name) as space, space.guarded():
        found = gallery_named(space, name)
        facts = starter_facts(space, found)
        groups = space.galleries.groups(found)
        calibrating = space.galleries.calibrating(found)
        searches = space.galleries.searches(found)
        separation = check_separation(assessment_of_gallery(space, found))
    render.table(
        f"gallery {found.name}",
        ("", ""),
        [
            ("real references", found.reals),
            ("fake references", found.fakes),
            *((f"{label}, for calibration alone", n) for label, n in calibrating.items()),
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
            ("separation", separation.message),
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
    name: Annotated[str, typer.Argument(metavar="NAME", help="The gallery, or the classifier.")],
    source: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="Only references of this source; again for more."),
    ] = None,
    generator: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only fakes by this generator; again for more."),
    ] = None,
    sha256: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEX",
            help="Only references of this file, by its SHA-256 or at least 6 first digits of it;"
            " again for more.",
        ),
    ] = None,
    workspace: opt.Workspace = None,
) -> None:
    """Take a gallery, some of its references, or a classifier out of use.

    An option given again widens the choice, another option narrows it: --source a --source b
    --generator g takes out the fakes by g that are from a or b. What old scans show as evidence
    stays in the workspace, and so does what they were judged by.
    """
    from ..engine.errors import InputError
    from ..index.workspace import Workspace
    from .console import say

    chosen = bool(source or generator or sha256)
    with Workspace.existing(workspace) as space, space.guarded():
        head = space.heads.named(name)
        if head is not None and name not in space.galleries.names():
            if chosen:
                raise InputError(
                    f"{name} is a classifier, which has no references",
                    f"take it out of use as a whole with: code-index remove {name}",
                )
            space.heads.remove(head)
            say(f"removed the {head.kind} classifier {name}")
        elif chosen:
            count = space.galleries.withdraw(
                name, "remove", source or (), generator or (), sha256 or ()
            )
            say(f"withdrew {counted(count, 'reference')} from {name}")
        else:
            space.galleries.remove(name)
            say(f"removed {name}")


@app.command(epilog="Example: [bold]code-index default desk[/]")
def default(name: Name, workspace: opt.Workspace = None) -> None:
    """Make a gallery the one that scans use by default."""
    from .console import say
    from .starter import gallery_named, workspace_of

    with workspace_of(workspace, name) as space, space.guarded():
        gallery_named(space, name)
        space.set_default_gallery(name)
    say(f"scans compare with {name} by default")


def _open(folder: Path | None) -> "Workspace":
    from ..index.workspace import Workspace, default_folder

    return Workspace(folder or default_folder())


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
