"""From files to vectors: read, hash, decode and embed, overlapped and in order.

One thread, the caller's, decides; a pool of threads, one a core, does single-threaded jobs of
three kinds: read and hash a file, decode a content, embed a batch. Whoever is free does whatever
is next, so that neither end waits for the other. The encoder is loaded beside them, once there is
something to embed. Bytes and crops in flight are bounded, and
what comes out is in the order of what went in: an archive after its members, and the further
frames of a picture after it.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ..archives.kinds import Kind
from ..archives.walker import ArchiveFile, FoundMember, Refused, Walker
from ..contracts import Content, Store
from ..decoding.decode import Decoded, Undecodable
from ..decoding.decode import Reason as DecodeReason
from ..files.addresses import is_address
from ..files.found import FoundFile, FreshContent, ReadFile
from ..files.read import archive_kind, read_file
from ..isolation.decoders import Decoders
from . import members
from .batches import Batches
from .contracts import Identify
from .frames import FrameJob, Frames, frames_of
from .items import Item, Work, Works
from .options import PipelineOptions, StageTimes
from .workers import Workers

HEARTBEAT = 0.25
"""Seconds after which an empty burst is yielded, so that the consumer can act on time."""

_LEAST_WINDOW = 16
"""Files in flight that are allowed however many views each has."""


class Pipeline:
    """The machine behind a scan or a build; use it once."""

    def __init__(
        self,
        store: Store,
        identify: Identify,
        options: PipelineOptions,
        times: StageTimes,
        decoders: Decoders | None = None,
    ) -> None:
        """Start the threads.

        Args:
            store: What is known.
            identify: Embeds.
            options: See there.
            times: Added to.
            decoders: To decode with, and left open; None for own ones.
        """
        self._memory = options.memory(store)
        self._options = options
        self._times = times
        self._pool: Workers[Callable[[], None]] = Workers(options.workers or os.cpu_count() or 1)
        self._own_decoders = decoders is None
        self._decoders = decoders or Decoders(options.decode)
        self._window: deque[Item] = deque()
        self._bytes = 0
        self._decoding = 0
        self._works = Works()
        self._frames = Frames(self._memory, self._works, options)
        self._batches = Batches(identify, options.decode.views, self._pool, times)
        self._most = max(_LEAST_WINDOW, options.window // options.decode.views.most)
        # Members and frames, which come before what is in the window.
        self._inner: deque[Item] = deque()
        self._inner_bytes = 0
        self._walked: Item | None = None  # the archive at the front of the window
        self._walking = False  # whether a thread is waiting for the walker
        self._ended = False
        self._spools: set[str] = set()  # files of archives that came over the network
        self._walker: Walker | None = None
        if options.archives is not None:
            bounds = options.decode
            self._walker = Walker(options.archives, bounds.max_bytes, bounds.timeout)

    def run(self, files: Iterable[FoundFile], stop: Callable[[], bool]) -> Iterator[list[Item]]:
        """Yield the files in order, in bursts, as they become ready; a burst may be empty.

        Args:
            files: What to work on; taken as room allows.
            stop: Asked several times a second; once true, what is not ready is dropped.
        """
        source = iter(files)
        exhausted = False
        try:
            while True:
                self._walk_on()
                for job in self._frames.due():
                    self._decode_frames(job)
                while not exhausted and self._has_room():
                    file = next(source, None)
                    if file is None:
                        exhausted = True
                    else:
                        self._admit(file)
                burst = self._release()
                if burst:
                    yield burst
                    if not stop():
                        continue
                if stop() or (exhausted and not self._window and not self._inner):
                    return
                self._batches.send(starved=self._decoding == 0)
                started = time.perf_counter()
                finish = self._pool.next(HEARTBEAT)
                self._times.wait += time.perf_counter() - started
                if finish is None:
                    yield []
                else:
                    finish()
        finally:
            if self._walker is not None:
                self._walker.close()
            self._ended = True
            self._pool.close(wait=not stop())
            self._drop_spools(set(self._spools))
            if self._own_decoders:
                self._decoders.close()

    def _spool(self, read: ReadFile) -> ArchiveFile | None:
        """Put an archive that came over the network on disk, where it can be walked."""
        if read.archive is None or read.data is None or self._ended:
            return None
        spool = members.spooled(read.data, read.archive)
        self._spools.add(spool.path)
        return spool

    def _drop_spools(self, paths: set[str]) -> None:
        """Delete archives that came over the network."""
        for path in paths & self._spools:
            with suppress(OSError):  # Windows: the walker has it open still
                Path(path).unlink()
                self._spools.discard(path)

    def _has_room(self) -> bool:
        if self._inner or self._walked is not None:
            return False
        return not self._window or (
            len(self._window) < self._most and self._bytes < self._options.budget
        )

    def _release(self) -> list[Item]:
        burst = []
        while (queue := self._inner or self._window) and queue[0].ready:
            item = queue.popleft()
            if queue is self._inner:
                self._inner_bytes -= item.held
            else:
                self._bytes -= item.held
            burst.append(item)
            self._inner.extendleft(reversed(self._frames.of(item)))
        return burst

    def _admit(self, file: FoundFile) -> None:
        item = Item(file)
        self._window.append(item)
        self._hold(item, file.bytes or 0)
        if file.reason is not None:
            return
        known = self._memory.file(file)
        if is_address(file.path) and self._walker is not None and members.may_hold_files(known):
            known = None  # nothing of it lies here: it is fetched again
        if self._walker is not None and known is not None and known.format in members.KINDS:
            item.content = known
            item.archive = members.archive_of(file, Kind(known.format))
            return
        closed = (
            known
            if self._walker is not None
            and known is not None
            and known.reason == DecodeReason.NOT_AN_IMAGE
            else None
        )
        if known is not None and closed is None and self._memory.knows_frames(known):
            item.content = known
            return
        self._read(item, closed)

    def _read(self, item: Item, known: Content | None) -> None:
        """Read a file; one that is `known` only in case it is an archive."""
        item.reading = True
        self._decoding += 1
        file, limit = item.file, self._options.decode.max_bytes
        archives = self._options.archives

        def job() -> Callable[[], None]:
            started = time.perf_counter()
            if known is not None and archive_kind(file) is None:
                return lambda: self._on_known(item, known)
            outcome = read_file(file, limit, archives, lambda: self._ended)
            spool = None
            try:
                spool = self._spool(outcome)
            except OSError as error:
                outcome = members.not_spooled(outcome, error)
            elapsed = time.perf_counter() - started
            return lambda: self._on_read(item, outcome, elapsed, spool)

        self._pool.submit(job)

    def _on_known(self, item: Item, known: Content) -> None:
        self._decoding -= 1
        item.content, item.reading = known, False

    def _on_read(
        self, item: Item, read: ReadFile, elapsed: float, spool: ArchiveFile | None = None
    ) -> None:
        self._times.read += elapsed
        self._decoding -= 1
        item.file = read.file
        self._hold(item, read.file.bytes or 0)
        item.reading = False
        if read.archive is not None:
            item.opened = True
            item.content = FreshContent(read.sha256, read.file.bytes or 0, str(read.archive))
            item.archive = spool or members.archive_of(read.file, read.archive)
            return
        if read.data is None:
            return
        item.opened = True
        if self._options.frames > 1:
            item.data = read.data
        item.content = self._memory.content(read.sha256)
        if item.content is None:
            item.work = self._works.on(read.sha256, 1, len(read.data))
            item.content = item.work.content
        if item.work is not None and item.work.fresh:
            self._decode(item, item.work, read.data)
        else:
            self._hold(item, len(item.data or b""))

    def _hold(self, item: Item, size: int) -> None:
        """Count the bytes that a file takes from now on; until it comes out."""
        grown, item.held = size - item.held, size
        if item.file.container is None:
            self._bytes += grown
        else:
            self._inner_bytes += grown

    def _decode(self, item: Item, work: Work, data: bytes) -> None:
        self._decoding += 1

        def job() -> Callable[[], None]:
            started = time.perf_counter()
            decoded = self._decoders.decode(data)
            if self._options.provenance:
                work.content.provenance = self._decoders.provenance(data)
            elapsed = time.perf_counter() - started

            def done() -> None:
                crops = decoded.views.nbytes if isinstance(decoded, Decoded) else 0
                self._hold(item, len(item.data or b"") + crops)
                self._on_decoded([work], [decoded], elapsed)

            return done

        self._pool.submit(job)

    def _on_decoded(
        self, works: Sequence[Work], answers: Sequence[Decoded | Undecodable], elapsed: float
    ) -> None:
        self._times.decode += elapsed
        self._decoding -= 1
        for work, decoded in zip(works, answers, strict=True):
            self._take(work, decoded)
        self._batches.send(starved=False)

    def _decode_frames(self, frames: FrameJob) -> None:
        self._decoding += 1
        start, stop = frames.numbers.start - 1, frames.numbers.stop - 1

        def job() -> Callable[[], None]:
            started = time.perf_counter()
            answers = self._decoders.decode_frames(frames.data, start, stop, frames.count)
            elapsed = time.perf_counter() - started
            return lambda: self._on_decoded(frames.works, answers, elapsed)

        self._pool.submit(job)

    def _take(self, work: Work, decoded: Decoded | Undecodable) -> None:
        self._times.decoded += 1
        content = work.content
        content.format = decoded.format or None
        content.width, content.height = decoded.width, decoded.height
        if isinstance(decoded, Undecodable):
            content.reason, content.detail = str(decoded.reason), decoded.detail
            work.done = True
        else:
            content.decoder = decoded.decoder
            content.frames = frames_of(decoded.format, decoded.frames)
            work.views = decoded.views
            self._batches.add(work)

    def _walk_on(self) -> None:
        """Open the archive at the front of the window, or ask for its next member."""
        if self._walking or self._walker is None:
            return
        if self._walked is None:
            first = self._window[0] if self._window and not self._inner else None
            if first is not None and first.archive is not None:
                self._walked = first
                self._ask_walker(self._walker.open, first.archive)
        elif len(self._inner) < self._most and (
            not self._inner or self._inner_bytes < self._options.budget
        ):
            self._ask_walker(self._walker.next)

    def _ask_walker(self, ask: Callable[..., FoundMember | Refused], *what: ArchiveFile) -> None:
        self._walking = True
        self._decoding += 1

        def job() -> Callable[[], None]:
            started = time.perf_counter()
            found = ask(*what)
            elapsed = time.perf_counter() - started
            return lambda: self._on_member(found, elapsed)

        self._pool.submit(job)

    def _on_member(self, found: FoundMember | Refused, elapsed: float) -> None:
        self._times.read += elapsed
        self._walking = False
        self._decoding -= 1
        archive, walker = self._walked, self._walker
        assert archive is not None
        assert archive.archive is not None
        assert archive.content is not None
        assert walker is not None
        if isinstance(found, Refused):
            size, kind = archive.file.bytes or 0, archive.archive.kind
            archive.content = members.walked_archive(archive.content.sha256, size, kind, found)
            self._drop_spools({archive.archive.path})
            archive.archive = self._walked = None
            return
        item = Item(members.as_file(archive.file, found), members.nested_archive(found))
        self._inner.append(item)
        self._hold(item, item.file.bytes or 0)
        if item.content is not None or item.file.reason is not None:
            return
        known = self._memory.file(item.file)
        if known is not None and self._memory.knows_frames(known):
            item.content = known
            return
        self._walking = item.reading = True
        self._decoding += 1

        def job() -> Callable[[], None]:
            started = time.perf_counter()
            outcome = members.read_member(walker, item.file)
            elapsed = time.perf_counter() - started

            def done() -> None:
                self._walking = False
                self._on_read(item, outcome, elapsed)

            return done

        self._pool.submit(job)
