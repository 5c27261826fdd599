"""What a session offers of the values of one tensor; all of it is read in children."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

from ckptui.core.model import Histogram, Listing, Tensor
from ckptui.core.names import clean
from ckptui.errors import NoSuchTensor

if TYPE_CHECKING:
    import numpy as np

    from ckptui.engine.pool import Pool


class Reading(Protocol):
    """What these use cases stand on."""

    @property
    def pool(self) -> Pool: ...

    def tensor(self, listing: Listing, name: str) -> Tensor: ...


class ValueUseCases:
    """The part of a session that finds a tensor by its name and fetches values to be drawn."""

    def tensor(self, listing: Listing, name: str) -> Tensor:
        """The tensor a name means: the stored one, the variable's own, or a clear end of either (see `core.lookup`).

        Raises:
            NoSuchTensor: no tensor has such a name, or several; the nearest are named.
        """
        find = getattr(listing.tensors, "find", None)
        found: Tensor | None = find(name) if find is not None else None
        if found is not None:
            return found
        from ckptui.core import lookup

        fitting = lookup.meant(listing.tensors, name)
        if len(fitting) == 1:
            return fitting[0]
        where = f"{name} in {listing.artifact.path}"
        if fitting:
            some = ", ".join(clean(t.name) for t in fitting[: lookup.MOST_NAMED])
            more = f" and {len(fitting) - lookup.MOST_NAMED} more" if len(fitting) > lookup.MOST_NAMED else ""
            raise NoSuchTensor(where, f"Which of: {some}{more}?", title=f"{len(fitting)} tensors fit this name")
        near = lookup.alike(listing.tensors, name)
        raise NoSuchTensor(where, f"Did you mean {' or '.join(near)}?" if near else "`ckptui show` lists the names")

    def array(self: Reading, listing: Listing, name: str, limit: int = 50_000_000) -> np.ndarray[Any, Any]:
        """The values of one tensor, at most `limit` bytes of them. Raises UsageError for larger ones."""
        from ckptui.engine.requests import array

        name = self.tensor(listing, name).name
        return array(self.pool, listing.artifact.path, listing.artifact.kind, name, limit)

    def drawable(
        self: Reading, listing: Listing, name: str, limit: int = 50_000_000
    ) -> tuple[np.ndarray[Any, Any], str]:
        """The same, and how the axes of a kernel are meant, see `core.layout.axes_of`."""
        from ckptui.engine.requests import drawable

        name = self.tensor(listing, name).name
        return drawable(self.pool, listing.artifact.path, listing.artifact.kind, name, limit)

    def overview(
        self: Reading, listing: Listing, name: str, pixels: tuple[int, int], cancel: threading.Event | None = None
    ) -> tuple[np.ndarray[Any, Any], float]:
        """A tensor of any size as at most `pixels` (height, width), and the magnitude of full colour."""
        from ckptui.engine.overviews import read_overview

        return read_overview(self.pool, listing.artifact.path, listing.artifact.kind, name, pixels, cancel)

    def histogram(self: Reading, listing: Listing, name: str, bins: int = 64) -> Histogram:
        """Counts of the finite values of one tensor in equal bins, and quantiles."""
        from ckptui.engine.requests import histogram

        return histogram(self.pool, listing.artifact.path, listing.artifact.kind, name, bins)
