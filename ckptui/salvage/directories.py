"""What describes a damaged checkpoint: its own index, that index mended, or a sibling's layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from ckptui.core.model import Tensor
from ckptui.core.names import step_of
from ckptui.core.salvage import Method
from ckptui.errors import CkptuiError, UsageError
from ckptui.readers.bundle import Bundle, open_bundle
from ckptui.readers.bundle_index import BundleIndex
from ckptui.readers.bundle_layout import BorrowedBundle, open_bundle_with_layout
from ckptui.readers.bundle_shards import shard_files

MOST_SIBLINGS = 50
"""Saves beside a lost index whose layouts are tried, nearest step first."""


@dataclass(slots=True)
class View:
    """The names and places that a salvage goes by."""

    bundle: Bundle
    method: Method
    unproved: frozenset[str] = frozenset()
    """Tensors whose entries no checksum vouches for: their name, dtype and shape rest on nothing else."""
    complete: bool = True
    """No entry is lost."""

    @property
    def borrowed(self) -> BorrowedBundle | None:
        """The bundle, where its layout is a sibling's."""
        return self.bundle if isinstance(self.bundle, BorrowedBundle) else None


def own_view(prefix: str) -> View | None:
    """What the index of `prefix` says, or the one that an interrupted save left; None where nothing can be read.

    Raises:
        ChangedWhileReading: somebody writes the index.
    """
    bundle = open_bundle(prefix)
    if not bundle.names:
        return None
    index = bundle.index
    method: Method = "index"
    if index.path != prefix + ".index":
        method = "part-index"
    elif index.table.walked:
        method = "walked-index"
    elif any(p.cause == "flipped" and p.where in ("data block", "index block") for p in index.table.problems):
        method = "repaired-index"
    return View(bundle, method, _labels(index), index.table.complete)


def _labels(index: BundleIndex) -> frozenset[str]:
    """The tensors of entries that no checksum vouches for."""
    spans = index.table.unproved
    return frozenset(index.label(place) for span in spans for place in span if place >= index.first)


def layout_view(prefix: str, sibling: str) -> View:
    """`prefix` as the index of `sibling` lays it out.

    Raises:
        UsageError: the sibling has no index that can be read, or describes other data files.
    """
    try:
        bundle = open_bundle_with_layout(prefix, sibling)
    except CkptuiError as error:
        raise UsageError(f"{sibling} gives no layout: {error.detail}", "Name a whole save of the same model") from error
    return View(bundle, "layout")


def find_layout(prefix: str) -> View | None:
    """The nearest save in the same folder whose layout fits every data file of `prefix` to the byte; None without one.

    Exported models stand in folders of their own, one a version: there the versions beside are tried.
    """
    for sibling in _siblings(prefix)[:MOST_SIBLINGS]:
        try:
            bundle = open_bundle_with_layout(prefix, sibling)
        except CkptuiError:
            continue
        if (
            bundle.fits
            and len(bundle.fits) == bundle.index.header.shards
            and all(f.whole for f in bundle.fits.values())
        ):
            return View(bundle, "layout")
    return None


def has_files(prefix: str) -> bool:
    """Whether an index or a data file of a bundle has this prefix."""
    return os.path.lexists(prefix + ".index") or bool(shard_files(prefix))


def like(prefix: str, first: str | None) -> Iterator[Bundle]:
    """Saves beside this one whose own index can be read, nearest step first; before them the one named, if any."""
    for sibling in [*([first] if first else []), *_siblings(prefix)[:MOST_SIBLINGS]]:
        try:
            bundle = open_bundle(sibling)
        except CkptuiError:
            continue
        if bundle.names:
            yield bundle


def _siblings(prefix: str) -> list[str]:
    """Prefixes with an index beside this one, the nearest step first, then the nearest in time."""
    folder, base = os.path.split(prefix)
    found = [os.path.join(folder, name[:-6]) for name in _names(folder) if name.endswith(".index")]
    if base == "variables" and os.path.basename(folder) == "variables":
        versions = os.path.dirname(os.path.dirname(folder))
        places = [os.path.join(versions, name, "variables", "variables") for name in _names(versions)]
        found += [place for place in places if os.path.isfile(place + ".index")]
    own = os.path.abspath(prefix)
    step, time = step_of(_label(prefix)), _time(prefix)

    def distance(other: str) -> tuple[int, float]:
        theirs = step_of(_label(other))
        near = abs(theirs - step) if step is not None and theirs is not None else 1 << 62
        return near, abs(_time(other) - time)

    return sorted((p for p in found if os.path.abspath(p) != own), key=distance)


def _label(prefix: str) -> str:
    """The part of a prefix that carries its step: its name, of an export the version's folder."""
    folder, base = os.path.split(os.path.abspath(prefix))
    return os.path.basename(os.path.dirname(folder)) if base == "variables" else base


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder or "."))
    except OSError:
        return []


def _time(prefix: str) -> float:
    folder, base = os.path.split(prefix)
    for name in _names(folder):
        if name.startswith(f"{base}.data-"):
            try:
                return os.stat(os.path.join(folder, name)).st_mtime
            except OSError:
                continue
    return 0.0


def missing_from(view: View, other: View) -> list[Tensor]:
    """Tensors that a sibling's layout has and an incomplete index lost, if the two agree wherever both speak."""
    known = {tensor.name: tensor for tensor in view.bundle.listing().tensors}
    theirs = list(other.bundle.listing().tensors)
    for tensor in theirs:
        own = known.get(tensor.name)
        if own is None or own.dtype in ("string", "variant") or own.problem:
            continue
        if (own.dtype, own.shape, own.storage.segment) != (tensor.dtype, tensor.shape, tensor.storage.segment):
            return []
    return [tensor for tensor in theirs if tensor.name not in known]
