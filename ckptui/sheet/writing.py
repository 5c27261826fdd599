"""A sheet read, drawn and written: whole under its name, or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ckptui.core.model import Layer, Listing
from ckptui.core.text import human_bytes, safe
from ckptui.engine.pictures import Values, Wanted, read_pictures
from ckptui.errors import CkptuiError, UsageError
from ckptui.export import check_place, pending
from ckptui.narrator import Narrator
from ckptui.sheet.planning import Plan, Sort, make_plan

if TYPE_CHECKING:
    from ckptui.session import Session


@dataclass(frozen=True, slots=True)
class SheetRequest:
    """What a user asked for."""

    target: str
    sort: Sort = "index"
    per_filter: bool = False
    force: bool = False

    def check(self, listing: Listing) -> None:
        """Look at the target before anything is read.

        Raises:
            UsageError: it is no .png, exists, or lies inside the save.
        """
        if os.path.splitext(self.target)[1].lower() != ".png":
            raise UsageError(f"{self.target} does not end in .png", "The image is a PNG and is to be called one")
        check_place(listing, self.target, force=self.force)


def write_sheet(
    session: Session,
    listing: Listing,
    layers: Sequence[Layer],
    chosen: Sequence[str],
    request: SheetRequest,
) -> str:
    """Draw the tensors `chosen` of a checked listing into the file asked for; what was written, in words.

    Raises:
        UsageError: there is nothing to draw, or the target won't do.
    """
    plan = make_plan(listing, layers, chosen, sort=request.sort, per_filter=request.per_filter)
    if not plan.blocks and not plan.notes:
        raise UsageError(
            f"{listing.artifact.path} has no filters to draw",
            "Kernels and embeddings have; `ckptui show` tells the roles",
        )
    narrator = Narrator()
    try:
        drawn = _read(session, listing, plan, narrator)
        # Pillow only from here on: the commands that draw nothing do without
        from ckptui.sheet.drawing import draw

        image = draw(plan, drawn, lambda done: narrator.tell(f"drawing  {done + 1} of {len(plan.blocks)} layers"))
        narrator.tell("writing")
        with pending(request.target, request.force) as out:
            image.save(out, format="PNG")
            size = out.tell()
    finally:
        narrator.close()
    return f"wrote {safe(request.target)}: {image.width}x{image.height} pixels, {human_bytes(size)}"


def _read(session: Session, listing: Listing, plan: Plan, narrator: Narrator) -> dict[str, Values | CkptuiError]:
    """The values of every block that can be drawn, or why there are none."""
    wanted = []
    for block in plan.blocks:
        if block.heat is not None:
            size = (block.heat.rows, block.heat.columns)
            wanted.append(Wanted(block.tensor.name, (), *(size[::-1] if block.heat.turned else size)))
        elif block.grid is not None:
            wanted.append(Wanted(block.tensor.name, block.picks))
    drawn: dict[str, Values | CkptuiError] = {}
    for key, answer in read_pictures(session.pool, listing.artifact, wanted):
        drawn[wanted[key].tensor] = answer
        narrator.tell(f"reading  {len(drawn)} of {len(wanted)} layers")
    return drawn
