"""Fetching real images by address: with limits, retries and a reason for each that is dead."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from .catalogue import decode

_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """Limits of a download.

    Attributes:
        threads: Connections at a time.
        timeout: Seconds to connect, and between two blocks of an answer.
        retries: Further tries after a failed connection or an answer that may pass: 429 and 5xx.
        backoff: Seconds before the second retry, doubled for each one after.
        max_bytes: Largest file.
    """

    threads: int = 32
    timeout: float = 10.0
    retries: int = 2
    backoff: float = 0.5
    max_bytes: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Download:
    """An address and what it gave: bytes of an image that decodes, or the reason why not."""

    key: str
    url: str
    data: bytes
    reason: str = ""


def download(wanted: Iterable[tuple[str, str]], options: DownloadOptions) -> Iterator[Download]:
    """Fetch images, many at a time; results come in the order of the addresses.

    Args:
        wanted: (key, address) pairs; only http and https are followed.
        options: Limits.

    Yields:
        One :class:`Download` for each pair.
    """
    import urllib3

    retry = urllib3.Retry(
        options.retries, backoff_factor=options.backoff, redirect=4,
        status_forcelist=(429, 500, 502, 503, 504), respect_retry_after_header=False,
    )  # fmt: skip
    pool = urllib3.PoolManager(
        num_pools=options.threads, maxsize=4, retries=retry,
        timeout=urllib3.Timeout(connect=options.timeout, read=options.timeout),
        headers={"User-Agent": "code-forensics training-set preparation"},
    )  # fmt: skip

    def fetch(pair: tuple[str, str]) -> Download:
        key, url = pair
        try:
            return Download(key, url, _get(pool, url, options.max_bytes))
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            return Download(key, url, b"", f"{type(error).__name__}: {error}"[:300])

    with ThreadPoolExecutor(options.threads) as threads:
        pairs = iter(wanted)
        # a window of a few times the threads: finished images do not pile up in memory
        while window := list(islice(pairs, 4 * options.threads)):
            yield from threads.map(fetch, window)


def _get(pool: object, url: str, limit: int) -> bytes:
    import urllib3

    assert isinstance(pool, urllib3.PoolManager)
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("not an http or https address")
    answer = pool.request("GET", url, preload_content=False)
    try:
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
        data = bytearray()
        for block in answer.stream(_BLOCK, decode_content=True):
            data += block
            if len(data) > limit:
                raise OSError(f"more than {limit} bytes")
    finally:
        answer.close()
    decode(bytes(data))  # a page that says 'gone' is dead too
    return bytes(data)
