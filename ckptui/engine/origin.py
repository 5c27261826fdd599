"""Which save of a run an export was made from: its weights looked for, by content, in every save.

Checkpoints keep a checksum of every tensor, so that nothing is read until one save is left, which is then compared to
the bit. Other formats are read once a save. An export of another dtype is compared with what that dtype makes of each
save's weights, and one that holds moving averages is found by the slots that keep those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ckptui.core.dtypes import is_float
from ckptui.core.matching import match_listings
from ckptui.core.model import Candidate, Listing, Origin, Progress, RunFolder, Tensor
from ckptui.core.names import is_weight
from ckptui.engine.contents import Key, read_contents, stored_content
from ckptui.engine.nearest import Distance, nearest
from ckptui.engine.pool import Flag, Pool
from ckptui.errors import CkptuiError

AVERAGES = re.compile(r"(?i)average|(?:^|[/_])ema(?:[/_]|$)")
"""Slots that hold moving averages of weights: TF1's ExponentialMovingAverage, Keras' `use_ema`."""
MOST_NAMES = 3

Opener = Callable[[str], Listing]


@dataclass(slots=True)
class Held:
    """One save held against an export."""

    path: str
    listing: Listing
    identical: int = 0
    averages: int = 0
    """Weights of the export that are this save's moving averages."""
    partners: int = 0
    strangers: list[str] = field(default_factory=list)
    """Weights of the export that this save has nothing for."""
    left: list[str] = field(default_factory=list)
    """Weights of this save that the export lacks."""
    rounded: str = ""
    """The dtype that the save's weights were rounded to."""
    sources: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Tensors of save and export that are equal by checksums that were stored, not by bytes that were read."""
    same_step: bool = False
    """A step counter of the export has this save's value."""
    relative_l2: float | None = None

    @property
    def label(self) -> str:
        """The save and its step, in words."""
        step = self.listing.artifact.step
        return self.listing.artifact.label + ("" if step is None else f" (step {step})")

    def candidate(self) -> Candidate:
        """The same as a fact."""
        return Candidate(self.path, self.listing.artifact.step, self.identical, self.partners, self.relative_l2)


def find_origin(
    pool: Pool, open_save: Opener, run: RunFolder, export: Listing, cancel: Flag | None = None
) -> Iterator[Progress | Origin]:
    """Progress, and the Origin last. Saves that can't be opened are named in its reason.

    Raises:
        Cancelled: `cancel` was set before the end.
        CkptuiError: the export can't be opened any more.
    """
    weights = weights_of(export)
    known: dict[Key, int] = {}
    yield from read_contents(pool, export, [(t, [t.dtype]) for t in weights], known, cancel)
    saves: list[Held] = []
    lost: list[str] = []
    for path in run.saves:
        try:
            held = Held(path, open_save(path))
            if not held.listing.tensors:
                lost.append(f"{path}: no tensor of it can be read")
                continue
            yield from _hold(pool, held, weights, known, export, cancel)
        except CkptuiError as error:
            if cancel is not None and cancel.is_set():
                raise
            lost.append(f"{path}: {error.title}")
        else:
            saves.append(held)
    equal = [held for held in saves if weights and held.identical == len(weights)]
    if equal:
        yield from _told(pool, run, export, weights, saves, equal, lost, cancel)
        return
    reachable = [held for held in saves if held.partners]
    best: Held | None = None
    for step in nearest(pool, [(h.listing, weights_of(h.listing)) for h in reachable], export, weights, cancel):
        if isinstance(step, Distance):
            reachable[step.place].relative_l2 = step.relative_l2
            best = reachable[step.place] if step.best else best
        else:
            yield step
    reason = _no(weights, best, saves, lost)
    yield _origin(run, "no", best, weights, saves, reason)


def weights_of(listing: Listing) -> list[Tensor]:
    """The model's weights; one that is stored twice under one name of its own counts once."""
    kept: dict[object, Tensor] = {}
    for tensor in listing.tensors:
        if not is_weight(tensor.role, tensor.dtype):
            continue
        content = stored_content(tensor)
        twice = bool(tensor.object_path) and content is not None
        kept.setdefault((tensor.object_path, tensor.shape, content) if twice else tensor.name, tensor)
    return list(kept.values())


def _hold(
    pool: Pool, held: Held, weights: Sequence[Tensor], known: dict[Key, int], export: Listing, cancel: Flag | None
) -> Iterator[Progress]:
    """How much of the export one save holds."""
    own = weights_of(held.listing)
    averages = [t for t in held.listing.tensors if t.role in ("slot", "other") and AVERAGES.search(t.name)]
    averages += [t for t in held.listing.tensors if t.role == "slot" and AVERAGES.search(t.object_path)]
    own = [tensor for tensor in own if not AVERAGES.search(tensor.name)]
    asked = []
    for tensor in _each([*own, *averages]):
        dtypes = list(dict.fromkeys(t.dtype for t in weights if t.shape == tensor.shape and _casts(tensor, t)))
        if dtypes:
            asked.append((tensor, dtypes))
    found: dict[Key, int] = {}
    yield from read_contents(pool, held.listing, asked, found, cancel)
    matched = match_listings(replace(held.listing, tensors=own), replace(export, tensors=weights))
    pairs = {b.name: a for a, b, _ in matched if a is not None and b is not None and a.shape == b.shape}
    claimed = {tensor.name for tensor in pairs.values()}
    free = [tensor for tensor in own if tensor.name not in claimed]
    for weight in weights:
        content = known.get((weight.name, weight.dtype))
        partner = pairs.get(weight.name)
        if content is not None and (partner is None or found.get((partner.name, weight.dtype)) != content):
            alike = [t for t in free if t.shape == weight.shape and found.get((t.name, weight.dtype)) == content]
            if alike and partner is None:
                partner = alike[0]
                free.remove(partner)
                claimed.add(partner.name)
        _count(held, weight, partner, averages, content, found)
    held.left = [tensor.name for tensor in own if tensor.name not in claimed]
    held.same_step = _same_step(held.listing, export)


def _count(
    held: Held,
    weight: Tensor,
    partner: Tensor | None,
    averages: Sequence[Tensor],
    content: int | None,
    found: dict[Key, int],
) -> None:
    """Note what one weight of the export is to the save."""
    source = partner if partner is not None and found.get((partner.name, weight.dtype)) == content else None
    if source is None and content is not None:
        source = next(
            (t for t in averages if t.shape == weight.shape and found.get((t.name, weight.dtype)) == content), None
        )
        held.averages += source is not None
    if partner is None and source is None:
        held.strangers.append(weight.name)
        return
    held.partners += 1
    if source is None or content is None:
        return
    held.identical += 1
    if source.dtype != weight.dtype:
        held.rounded = weight.dtype
    elif stored_content(source) is not None and stored_content(weight) is not None:
        held.sources.append((source, weight))


def _each(tensors: Sequence[Tensor]) -> list[Tensor]:
    return list({tensor.name: tensor for tensor in tensors}.values())


def _casts(tensor: Tensor, weight: Tensor) -> bool:
    """Whether a save's tensor, rounded, could be the export's."""
    return tensor.dtype == weight.dtype or (is_float(tensor.dtype) and is_float(weight.dtype))


def _same_step(save: Listing, export: Listing) -> bool:
    """Whether a step counter in the export has the value it has in the save, by their stored checksums."""
    steps = {c for t in export.tensors if t.role in ("step", "counter") and (c := _step(t)) is not None}
    return any(_step(t) in steps for t in save.tensors if t.role in ("step", "counter"))


def _step(tensor: Tensor) -> tuple[str, int] | None:
    content = stored_content(tensor)
    if content is None or "save_counter" in tensor.name or is_float(tensor.dtype):
        return None
    return tensor.dtype, content


def _told(
    pool: Pool,
    run: RunFolder,
    export: Listing,
    weights: Sequence[Tensor],
    saves: Sequence[Held],
    equal: Sequence[Held],
    lost: Sequence[str],
    cancel: Flag | None,
) -> Iterator[Progress | Origin]:
    """The answer is yes; where it rests on checksums alone, the bytes are compared first."""
    stepped = [held for held in equal if held.same_step]
    chosen = stepped[-1] if stepped and len(stepped) < len(equal) else equal[-1]
    damaged: list[str] = []
    if chosen.sources:
        yield from _verify(pool, chosen, export, damaged, cancel)
    count = len(weights)
    every = f"all {count} weights are" if count != 1 else "its only weight is"
    what = f"{every} identical"
    if chosen.rounded:
        what = f"{every} that save's, rounded to {chosen.rounded}"
    if chosen.averages:
        part = "" if chosen.averages == count else f"; {chosen.averages} of them as the moving average it keeps"
        what = f"{every} identical to the moving averages that save keeps" if not part else what + part
    words = [f"this export was made from {chosen.label}: {what}"]
    if damaged:
        words.append(f"so say the stored checksums; the bytes of {len(damaged)} are damaged: {_listed(damaged)}")
        chosen.identical -= len(damaged)
    others = [held.label for held in equal if held is not chosen]
    if others:
        why = "whose step it has" if stepped and len(stepped) < len(equal) else "the latest of them is named"
        words.append(f"{_listed(others)} hold{'s' if len(others) == 1 else ''} the same weights; {why}")
    if chosen.left:
        words.append(f"the save has {len(chosen.left)} more that the export lacks: {_listed(chosen.left)}")
    words += _lost(lost)
    yield _origin(run, "yes", chosen, weights, saves, "; ".join(words))


def _verify(pool: Pool, held: Held, export: Listing, damaged: list[str], cancel: Flag | None) -> Iterator[Progress]:
    """Read what is equal by its checksums alone; weights whose bytes are not what these say go into `damaged`."""
    sides = [(held.listing, [a for a, _ in held.sources]), (export, [b for _, b in held.sources])]
    read: list[dict[Key, int]] = [{}, {}]
    for (listing, tensors), found in zip(sides, read, strict=True):
        wanted = [(tensor, [tensor.dtype]) for tensor in _each(tensors)]
        yield from read_contents(pool, listing, wanted, found, cancel, trusting=False)
    for source, weight in held.sources:
        content = stored_content(weight)
        if read[0].get((source.name, source.dtype)) != content or read[1].get((weight.name, weight.dtype)) != content:
            damaged.append(weight.name)


def _no(weights: Sequence[Tensor], best: Held | None, saves: Sequence[Held], lost: Sequence[str]) -> str:
    """Why the answer is no."""
    if not weights:
        return "; ".join(["the export holds no weights", *_lost(lost)])
    if best is None:
        why = (
            "no save of this run has weights of these names or shapes" if saves else "no save of this run can be opened"
        )
        return "; ".join([why, *_lost(lost)])
    words = [f"no save of this run holds these weights; the nearest is {best.label}"]
    apart = "" if best.relative_l2 is None else f", the others are {best.relative_l2:.3g} apart (relative)"
    words.append(f"{best.identical} of {len(weights)} weights are identical{apart}")
    whole = sorted({t.dtype for t in weights if not is_float(t.dtype)})
    if whole:
        words.append(f"the export holds {', '.join(whole)}: quantised weights can't be traced to the bit")
    if best.strangers:
        words.append(f"the save has nothing for {len(best.strangers)}: {_listed(best.strangers)}")
    if best.left:
        words.append(f"the export lacks {len(best.left)}: {_listed(best.left)}")
    stepped = [held.label for held in saves if held.same_step]
    if stepped and len(stepped) < len(saves):
        words.append(f"its step counter is that of {_listed(stepped)}")
    return "; ".join([*words, *_lost(lost)])


def _lost(lost: Sequence[str]) -> list[str]:
    return [f"{len(lost)} save{'s' if len(lost) > 1 else ''} could not be looked at ({_listed(lost)})"] if lost else []


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _origin(
    run: RunFolder, answer: str, held: Held | None, weights: Sequence[Tensor], saves: Sequence[Held], reason: str
) -> Origin:
    return Origin(
        run=run.path,
        answer=answer,
        save=held.path if held else None,
        step=held.listing.artifact.step if held else None,
        weights=len(weights),
        candidates=tuple(one.candidate() for one in saves),
        reason=reason,
    )
