"""The tensors of two saves paired, by their bytes too where nothing else decides: children read those alone."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping

from ckptui.core.matching import Contents, Match, match_listings
from ckptui.core.model import Listing, Progress
from ckptui.engine.contents import Key, read_contents
from ckptui.engine.pool import Flag, Pool

MOST_ROUNDS = 3
"""What one round pairs may raise questions that the one before did not have."""


def pairing(
    pool: Pool,
    a: Listing,
    b: Listing,
    pattern: str | re.Pattern[str] | None = None,
    cancel: Flag | None = None,
    known: Mapping[tuple[int, str], int | None] | None = None,
) -> Generator[Progress, None, list[Match]]:
    """Progress ten times a second at most while tensors are read; returns pairs in A's order, then what only B has.

    Nothing is read where names pair everything. `known` has checksums by (0 for a, 1 for b; name), as
    `core.matching.Contents` does: nobody is asked for those.

    Raises:
        Cancelled: `cancel` was set. CkptuiError: one of the saves can't be opened any more.
    """
    contents = Contents(dict(known or {}))
    for _ in range(MOST_ROUNDS):
        matched = match_listings(a, b, pattern, contents)
        if not contents.wanted:
            return matched
        answers = dict.fromkeys(contents.wanted) | dict(contents.known)
        for side, listing in enumerate((a, b)):
            tensors = [t for t in listing.tensors if (side, t.name) in contents.wanted]
            found: dict[Key, int] = {}
            yield from read_contents(pool, listing, [(t, (t.dtype,)) for t in tensors], found, cancel)
            answers.update(((side, name), crc) for (name, _), crc in found.items())
        contents = Contents(answers)
    return match_listings(a, b, pattern, contents)


def paired(
    pool: Pool,
    a: Listing,
    b: Listing,
    pattern: str | re.Pattern[str] | None = None,
    cancel: Flag | None = None,
    known: Mapping[tuple[int, str], int | None] | None = None,
) -> list[Match]:
    """What `pairing` returns, without a word meanwhile."""
    steps = pairing(pool, a, b, pattern, cancel, known)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            matched: list[Match] = end.value
            return matched
