"""How a pipeline runs, and what its stages took."""

from dataclasses import dataclass, field, fields, replace

from ..archives.limits import ArchiveLimits
from ..contracts import Store
from ..decoding.decode import DecodeOptions
from ..decoding.views import ViewPlan
from .memory import Memory


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How the pipeline runs; only the decoder's bounds can change a result.

    Attributes:
        workers: Threads; 0 is one for each core.
        window: Files in flight at most.
        budget: Bytes of files and crops in flight at most; one file may always be in flight.
        decode: Bounds for the decoder.
        archives: Bounds for archives, whose members are worked on too; None leaves them closed.
        frames: Pictures of a file that are worked on, at most; 1 takes the first of each.
        provenance: Whether it is read what files say of their origin.
    """

    workers: int = 0
    window: int = 512
    budget: int = 256 << 20
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    archives: ArchiveLimits | None = None
    frames: int = 1
    provenance: bool = True

    def looking_at(self, views: ViewPlan) -> "PipelineOptions":
        """The same with other views of each picture."""
        return replace(self, decode=replace(self.decode, views=views))

    def memory(self, store: Store) -> Memory:
        """What a store knows that these options have a use for."""
        archives = self.archives is not None
        return Memory(store, self.decode.views, self.frames, self.provenance, archives)


@dataclass(slots=True)
class StageTimes:
    """Seconds spent in each stage, summed over threads, and what went through.

    Attributes:
        read: Reading and hashing.
        decode: Decoding and cropping, provenance included.
        load: Loading the encoder.
        embed: Embedding, and searching with fresh vectors.
        search: Searching with stored vectors.
        record: Writing to the workspace.
        wait: The deciding thread waiting for the pool.
        decoded: Contents decoded.
        embedded: Crops embedded, repeated ones included.
    """

    read: float = 0.0
    decode: float = 0.0
    load: float = 0.0
    embed: float = 0.0
    search: float = 0.0
    record: float = 0.0
    wait: float = 0.0
    decoded: int = 0
    embedded: int = 0

    def add(self, other: "StageTimes") -> None:
        """Add what another machine, or another run, has taken."""
        for name in (one.name for one in fields(self)):
            setattr(self, name, getattr(self, name) + getattr(other, name))
