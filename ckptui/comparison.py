"""Two saves held against each other: the part of a session that compares."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from ckptui.core.model import DiffReport, Listing, Origin, Pair, Progress, RunFolder
from ckptui.errors import CkptuiError

if TYPE_CHECKING:
    from ckptui.core.digest import Digest
    from ckptui.engine.pool import Pool


class Comparing(Protocol):
    """What these use cases stand on."""

    @property
    def pool(self) -> Pool: ...

    def open(self, path: str) -> Listing: ...


class ComparisonUseCases:
    """The part of a session that compares saves."""

    def diff(
        self: Comparing,
        a: Listing | Digest,
        b: Listing | Digest,
        *,
        pattern: str | None = None,
        weights: bool = False,
        cancel: threading.Event | None = None,
    ) -> Iterator[Pair | Progress | DiffReport]:
        """Hold candidate `b` against baseline `a`, tensor by tensor; the report comes last.

        `weights`: the model's weights alone, without slots, counters, states of generators and metrics.
        A digest on either side is compared by its hashes, the numbers estimated from the values it kept.
        """
        from ckptui.core.digest import Digest

        if isinstance(a, Digest) or isinstance(b, Digest):
            from ckptui.engine.digests import compare_with_digest

            told = compare_with_digest(self.pool, a, b, pattern=pattern, weights=weights, cancel=cancel)
        else:
            from ckptui.engine.compare_saves import compare_saves

            told = compare_saves(self.pool, a, b, pattern=pattern, weights=weights, cancel=cancel)
        for item in told:
            if isinstance(item, DiffReport):
                yield _with_configs(item, _with_graph(self.open, a), _with_graph(self.open, b), pattern)
            else:
                yield item

    def origin(
        self: Comparing, run: RunFolder, export: Listing, *, cancel: threading.Event | None = None
    ) -> Iterator[Progress | Origin]:
        """Which save of `run` the weights of `export` are; the answer comes last.

        Raises:
            Cancelled: `cancel` was set before the end.
            CkptuiError: the export can't be opened any more.
        """
        from ckptui.engine.origin import find_origin

        yield from find_origin(self.pool, self.open, run, export, cancel)

    def digest(
        self: Comparing, listing: Listing, *, cancel: threading.Event | None = None
    ) -> Iterator[Progress | Digest]:
        """Names, shapes, hashes and a few values of every tensor; the digest comes last.

        Every checksum is verified on the way; what fails is among the digest's findings.

        Raises:
            Cancelled: `cancel` was set before the end.
            CkptuiError: the save can't be opened any more.
        """
        from ckptui.engine.digests import digest_save

        yield from digest_save(self.pool, listing, cancel=cancel)

    def digest_or_none(self: Comparing, path: str) -> Digest | None:
        """The digest in the file at `path` (`-`: on standard input); None where that is something else.

        Told by content, whatever the name.

        Raises:
            UsageError: a digest that can't be used: cut off, another document of ckptui's, made by a newer one.
        """
        from ckptui.readers.digest_file import digest_or_none

        return digest_or_none(path)


def _with_graph(opened: Callable[[str], Listing], side: Listing | Digest) -> Listing:
    """What is known of a save's layers: of a checkpoint what the graph in the .meta beside it runs."""
    from ckptui.core.digest import Digest
    from ckptui.readers.meta_graph import beside

    if isinstance(side, Digest):
        return side.listing
    if side.artifact.kind not in ("tf-checkpoint", "tf-checkpoint-v1") or side.architecture:
        return side
    meta = beside(side.artifact.path)
    with contextlib.suppress(CkptuiError):
        if meta:
            graph = opened(meta)
            # a graph for training, as it was: what is served may be another
            if not any(finding.severity == "error" for finding in graph.findings):
                return replace(side, operations=graph.operations, artifact=replace(side.artifact, kind="meta-graph"))
    return side


def _with_configs(report: DiffReport, one: Listing, other: Listing, pattern: str | None) -> DiffReport:
    """The report with the layers whose configuration differs; with a pattern, those whose name it is found in."""
    from ckptui.core.configs import config_findings

    found = config_findings(one, other)
    if pattern:
        found = [finding for finding in found if re.search(pattern, str(finding.evidence.get("layer", "")))]
    return replace(report, findings=(*report.findings, *found))
