"""What was purged from a scan, in words."""

from collections.abc import Iterator, Mapping
from typing import Any


def purges_in_words(run: Mapping[str, Any]) -> tuple[str, ...]:
    """Say what is missing from a scan because it was purged, a phrase a purge.

    Args:
        run: The run record.
    """
    return tuple(_phrases(run))


def digests_before(run: Mapping[str, Any]) -> tuple[str, ...]:
    """The digests of a scan's rows as they were before each purge, the first first."""
    every = (one["results_sha256"] for one in run.get("purged", ()))
    return tuple(digest for digest in every if digest is not None)


def _phrases(run: Mapping[str, Any]) -> Iterator[str]:
    for one in run.get("purged", ()):
        yield _phrase(one, "")
    for one in (run.get("rejudged") or {}).get("purged", ()):
        yield _phrase(one, " of the scan that was judged again")
    for shard in (run.get("merged") or {}).get("shards", ()):
        for one in shard.get("purged", ()):
            yield _phrase(one, f" of shard {shard['shard']}")
        for one in (shard.get("rejudged") or {}).get("purged", ()):
            yield _phrase(one, f" of the scan that was judged again for shard {shard['shard']}")


def _phrase(one: Mapping[str, Any], whose: str) -> str:
    rows = one["rows"]
    if one["gallery"]:
        what = f"the references behind the rows{whose} were purged with their gallery"
    elif rows:
        what = f"{rows} row{whose} was purged" if rows == 1 else f"{rows} rows{whose} were purged"
    elif one.get("paths"):
        what = f"the name of a path{whose} that was asked for was purged"
    else:
        what = f"what rows{whose} named as their first copy was purged"
    said = f"{what} on {str(one['at'])[:10]}"
    if one["intact"] is False:
        said += ", when the rows were no longer those that the scan had written"
    return said
