"""What is said about one filter: why it is framed, and all the rest in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckptui.core.model import Filter, Layer
from ckptui.core.text import number_text

EXACT = 0.9999
"""A mirror correlation from here on is exact symmetry, which chance does not make."""
SYMMETRIC = 0.95
MIRROR_SIGNS = (("left_right", "↔"), ("up_down", "↕"), ("rotate_180", "↻"), ("transpose", "⤡"))


@dataclass(frozen=True, slots=True)
class Flag:
    """Why a filter is framed."""

    word: str
    """What stands in the frame: `init`, `dead`, `=5`."""
    tone: str
    """`error`, `warning`, `odd` or `muted`: the colour of frame and word."""
    meaning: str
    """The word in words."""

    @property
    def sign(self) -> str:
        """One letter that stands for the word where there is room for no more."""
        return self.word[0]


OUTSIZED = 1000.0
"""A norm so many times the layer's median is none that training made."""
IMPLAUSIBLE = Flag("huge", "error", "holds a value no training makes")
HUGE = Flag("huge", "warning", "its norm is over 1,000 times the layer's median")


def flag_of(found: Filter, layer: Layer) -> Flag | None:
    """The gravest thing about a filter, or None; symmetry counts where it is exact or chance can't explain it."""
    return next(iter(flags_of(found, layer)), None)


def flags_of(found: Filter, layer: Layer) -> list[Flag]:
    """All there is about a filter, the gravest first; what follows from a graver one is not told."""
    flags = [Flag("NaN", "error", "has values that are not finite")] if found.nonfinite else []
    if found.zero:
        return [*flags, Flag("zero", "warning", "all zero")]
    if found.dead:
        flags.append(Flag("dead", "warning", "dead: its weights are negligible beside the layer's"))
    if found.untouched:
        flags.append(Flag("init", "warning", "untouched since the initializer"))
    if found.constant:
        flags.append(Flag("const", "warning", "one constant value"))
    if found.duplicate_of is not None:
        flags.append(Flag(f"={found.duplicate_of}", "odd", f"a duplicate of filter {found.duplicate_of}"))
    if found.mirrored > 0:
        flags.append(Flag("sym", "warning", "equals its mirror image"))
    elif found.mirrored < 0:
        flags.append(Flag("anti", "muted", "equals its mirror image with the sign turned"))
    return flags


def outsized(layer: Layer) -> frozenset[int]:
    """The few filters whose norm dwarfs that of the others: over 1,000 times the median of those that are not 0."""
    norms = sorted(f.l2 for f in layer.detail if f.l2 > 0)
    if not norms:
        return frozenset()
    found = frozenset(f.index for f in layer.detail if f.l2 > OUTSIZED * norms[len(norms) // 2])
    # where many are, it is the others that faded away
    return found if len(found) <= max(len(norms) // 16, 1) else frozenset()


def mirror_scores(found: Filter) -> list[float]:
    """The mirror correlations that exist for a filter."""
    all_scores = (found.left_right, found.up_down, found.rotate_180, found.transpose, found.front_back)
    return [score for score in all_scores if score is not None and score == score]


def _correlation(r: float) -> str:
    """Two digits, but never 1 for what is not exactly symmetric."""
    digits = 2 if abs(r) < SYMMETRIC or abs(r) >= EXACT else 4
    return f"{round(r, digits) + 0.0:.{digits}f}".replace("-", "−")


def words_about(
    index: int, found: Filter | None, layer: Layer | None, norm: float, first: Flag | None = None
) -> Sequence[str]:
    """Every flag of one filter, its norm and mirror correlations; the important first.

    `first`: what only the layer as a whole shows about it.
    """
    flags = flags_of(found, layer) if found is not None and layer is not None else []
    if first is not None:
        flags.insert(0, first)
    words = ", ".join(flag.meaning for flag in flags)
    parts = [f"{index} {words}" if words else str(index), f"norm {number_text(norm, 3)}"]
    if found is None or layer is None:
        return parts
    scores = [(sign, getattr(found, name)) for name, sign in MIRROR_SIGNS]
    told = "  ".join(f"{sign} {_correlation(r)}" for sign, r in scores if r is not None and r == r)
    parts += [f"mirror r {told}"] if told else []
    return parts
