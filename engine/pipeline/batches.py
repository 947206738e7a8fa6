"""Crops on their way through the encoder: batched, embedded, and put together by content."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from ..decoding.views import ViewPlan
from ..judging.hits import Hits
from .contracts import Identify
from .items import Identified, View, Work
from .options import StageTimes
from .workers import Workers


class Batches:
    """Crops that wait for the encoder, and those that are in it; for the deciding thread alone."""

    def __init__(
        self,
        identify: Identify,
        plan: ViewPlan,
        pool: Workers[Callable[[], None]],
        times: StageTimes,
    ) -> None:
        """Begin empty.

        Args:
            identify: Embeds.
            plan: What the views of a picture are.
            pool: Does the work.
            times: Added to.
        """
        self._identify = identify
        self._plan = plan
        self._pool = pool
        self._times = times
        self._waiting: dict[bool, list[View]] = {False: [], True: []}  # by `final`
        self._embedding = 0
        self._loading = self._loaded = False

    def add(self, work: Work) -> None:
        """Let all views of some bytes wait for the next batches."""
        assert work.views is not None
        work.found = [None] * len(work.views)
        self._waiting[False] += [(work, view) for view in range(len(work.views))]
        if not self._loading:
            self._loading = True
            self._pool.submit_beside(self._load)

    def send(self, starved: bool) -> None:
        """Send full batches off; the rest too when nothing else would fill them."""
        if not self._loaded:
            return
        for final in (False, True):
            views, full = self._waiting[final], self._identify.batch
            size = self._shared(len(views)) if starved else full
            while len(views) >= full or (starved and views):
                batch = views[:size]
                del views[:size]
                self._embed(batch, final)
            starved = starved and self._embedding == 0

    def _shared(self, count: int) -> int:
        """Crops of each batch, where so many are the last: the threads have as much to do each."""
        rounds = math.ceil(count / (self._identify.batch * self._pool.threads))
        share = math.ceil(count / max(rounds * self._pool.threads, 1))
        return max(share, self._identify.fewest)

    def _load(self) -> Callable[[], None]:
        """Load the encoder, while the pool goes on with what comes before it."""
        started = time.perf_counter()
        self._identify.load()
        elapsed = time.perf_counter() - started
        return lambda: self._on_loaded(elapsed)

    def _on_loaded(self, elapsed: float) -> None:
        self._times.load += elapsed
        self._loaded = True

    def _embed(self, batch: list[View], final: bool) -> None:
        self._embedding += 1
        crops = [work.views[view] for work, view in batch if work.views is not None]

        def job() -> Callable[[], None]:
            started = time.perf_counter()
            outcomes = self._identify(np.stack(crops), final)
            elapsed = time.perf_counter() - started
            return lambda: self._on_embedded(batch, outcomes, elapsed)

        self._pool.submit(job)

    def _on_embedded(
        self, batch: list[View], outcomes: Sequence[Identified | None], elapsed: float
    ) -> None:
        self._times.embed += elapsed
        self._times.embedded += len(batch)
        self._embedding -= 1
        for (work, view), outcome in zip(batch, outcomes, strict=True):
            if outcome is None:
                self._waiting[True].append((work, view))
            else:
                work.found[view] = outcome
                self._finish(work)

    def _finish(self, work: Work) -> None:
        """Put the views of some bytes together, once all are there."""
        found = [one for one in work.found if one is not None]
        if len(found) < len(work.found):
            return
        content = work.content
        content.precision = _coarsest(found)
        if len(found) > 1:
            if not self._identify.together(content, found, self._plan):
                again = [(work, n) for n, one in enumerate(found) if one.precision != "float32"]
                for _, view in again:
                    work.found[view] = None
                self._waiting[True] += again
                return
            content.views = np.stack([one.vector for one in found[1:]])
        content.vector = found[0].vector
        hits = [one.hits for one in found if one.hits is not None]
        work.hits = Hits.join(hits) if hits else None
        work.views, work.done = None, True


def _coarsest(found: Sequence[Identified]) -> str:
    """The precision of some vectors together: float32 only where every one is."""
    return next((one.precision for one in found if one.precision != "float32"), "float32")
