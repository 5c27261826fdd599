"""What is known about one tensor as labelled lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from textual.content import Content
from textual.reactive import reactive

from ckptui.core.model import Histogram, Layer, Stats, Tensor, TensorScan
from ckptui.core.results import QUANTILES
from ckptui.core.text import human_bytes, human_count, number_text, safe, shape_text
from ckptui.ui.fitting import fit_middle, tied, wrap
from ckptui.ui.naming import own_name
from ckptui.ui.widgets.reflow import Reflow

LABEL_WIDTH = 11
WHOLE = frozenset({"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64))})
"""Types without NaN or infinities."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A labelled line."""

    label: str
    value: str
    style: str = "$foreground"
    """Theme variable, with `bold` where it matters."""
    one_line: bool = False
    """Loses its middle instead of being wrapped."""


class Facts(Reflow):
    """Facts, labels in one column; values that don't fit are wrapped under themselves."""

    DEFAULT_CSS = """
    Facts { height: auto; }
    """
    facts: reactive[Sequence[Fact]] = reactive(())

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(self._lines, id=id)

    def watch_facts(self) -> None:
        self.show(self._lines)

    def _lines(self, width: int) -> Content:
        room = max(width - LABEL_WIDTH, 8)
        lines = []
        for fact in self.facts:
            parts = [fit_middle(fact.value, room)] if fact.one_line else wrap(fact.value, room)
            for number, part in enumerate(parts):
                label = fact.label if number == 0 else ""
                lines.append(Content.assemble((label.ljust(LABEL_WIDTH), "$dim"), (part, fact.style)))
        return Content("\n").join(lines)


def headline(tensor: Tensor) -> str:
    """`3×3 kernel · 1 → 32 · float32 · 1.2 kB`."""
    spatial = len(tensor.shape) - 2
    if tensor.role == "kernel" and 1 <= spatial <= 3:
        what = f"{shape_text(tensor.shape[:-2])} kernel · {tensor.shape[-2]} → {tensor.shape[-1]}"
    elif tensor.role == "kernel" and spatial == 0:
        what = f"kernel · {tensor.shape[0]} → {tensor.shape[1]}"
    elif tensor.role == "other":
        what = shape_text(tensor.shape)
    else:
        what = f"{tensor.role.replace('-', ' ')} · {shape_text(tensor.shape)}"
    return f"{tied(what)} {tied(f'· {safe(tensor.dtype)}')} {tied(f'· {human_bytes(tensor.bytes)}')}"


def tensor_facts(
    tensor: Tensor,
    scan: TensorScan | None,
    layer: Layer | None,
    kind: str = "",
    histogram: Histogram | None = None,
) -> list[Fact]:
    """What is known of a tensor of a `kind` of save: names, numbers, checksum, was it trained, where its bytes lie."""
    facts: list[Fact] = []
    name = own_name(tensor)
    if name != tensor.name:
        facts.append(Fact("stored as", safe(tensor.name), "$dim", one_line=True))
    if tensor.layer and not name.startswith(tensor.layer):
        facts.append(Fact("layer", safe(tensor.layer)))
    if tensor.problem:
        facts.append(Fact("problem", safe(tensor.problem), "$error"))
    if not tensor.problem or (scan is not None and scan.stats is not None):
        facts += number_facts(tensor, scan.stats if scan else None)
        facts += quantile_facts(histogram)
    facts.append(checksum_fact(tensor, scan, kind))
    facts += trained_facts(layer)
    facts += place_facts(tensor)
    return facts


def number_facts(tensor: Tensor, stats: Stats | None) -> list[Fact]:
    """Mean, extremes with their index, zeros and what is not finite; dashes before the tensor is read."""
    if tensor.dtype in ("string", "variant", "resource"):
        return [Fact("values", human_count(tensor.count))]
    if stats is None:
        return [Fact("mean", "–   std –"), Fact("min", "–"), Fact("max", "–"), Fact("zeros", "–")]
    if stats.finite is None:
        return [Fact("values", human_count(stats.count))]
    broken = {"NaN": stats.nan or 0, "+inf": stats.posinf or 0, "−inf": stats.neginf or 0}
    words = ", ".join(f"{human_count(count)} {name}" for name, count in broken.items() if count)
    alarm = "$error bold" if words else "$foreground"
    mean = Fact("mean", f"{number_text(stats.mean)}   std {number_text(stats.std)}")
    if stats.min is None:
        return [mean, Fact("not finite", words or "no values", alarm)]
    zeros = human_count(stats.zeros or 0)
    if stats.zeros and stats.count:
        zeros = tied(f"{zeros} of {human_count(stats.count)}")
    if stats.nan is not None and not words and tensor.dtype not in WHOLE:
        zeros += ", all finite"
    facts = [
        mean,
        Fact("min", number_text(stats.min) + _at(stats.argmin, tensor.shape)),
        Fact("max", number_text(stats.max) + _at(stats.argmax, tensor.shape)),
        Fact("zeros", zeros, "$warning" if stats.zeros == stats.count else "$foreground"),
    ]
    return [*facts, Fact("not finite", words, alarm)] if words else facts


def quantile_facts(histogram: Histogram | None) -> list[Fact]:
    """The values at 1, 25, 50, 75 and 99 %, and of how many values they are where not of all."""
    if histogram is None or not histogram.quantiles or histogram.low == histogram.high:
        return []
    told = [
        tied(f"{share:.0%} {number_text(value, 2)}")
        for share, value in zip(QUANTILES, histogram.quantiles, strict=False)
    ]
    facts = [Fact("quantiles", "  ".join(told))]
    if histogram.sampled:
        facts.append(Fact("", f"of {human_count(histogram.sampled)} values, evenly spread", "$dim"))
    return facts


def _at(index: int | None, shape: tuple[int, ...]) -> str:
    """` at [1,0,0,7]`, as numpy indexes it."""
    if index is None or not shape:
        return ""
    places = np.unravel_index(index, shape)
    return f" at [{','.join(str(int(p)) for p in places)}]"


def checksum_fact(tensor: Tensor, scan: TensorScan | None, kind: str = "") -> Fact:
    """Does the stored checksum hold, is there one, was it looked at?"""
    stored = tensor.storage.crc32c
    code = f"   crc32c {stored:08x}" if stored is not None else ""
    if kind == "keras-archive" and (scan is None or scan.checksum == "none"):
        return Fact("checksum", "the archive's, over the whole member", "$dim")
    if scan is None:
        has_one = stored is not None or any(part.crc32c is not None for part in tensor.storage.slices)
        return Fact("checksum", f"not checked yet{code}" if has_one else "not read yet", "$dim")
    if scan.checksum == "ok":
        return Fact("checksum", f"ok{code}", "$success")
    if scan.checksum == "mismatch":
        return Fact("checksum", f"mismatch{code}", "$error bold")
    if scan.checksum == "unread":
        return Fact("checksum", "the bytes can't be read", "$error bold")
    return Fact("checksum", "none in this format", "$dim")


def trained_facts(layer: Layer | None) -> list[Fact]:
    """Did the values leave what the initializer drew? One line, with how sure it is."""
    if layer is None or not layer.initializer:
        return []
    verdict = layer.initializer.get("verdict")
    match = str(layer.initializer.get("match") or "")
    sure = str(layer.initializer.get("certainty") or "")
    origin = f"still {safe(match)}" if match else "untouched"
    doubt = f" ({sure})" if sure and sure != "confirmed" else ""
    untouched = layer.counts.get("untouched", 0)
    if verdict == "at-initializer":
        return [Fact("trained", f"no: {origin}{doubt}", "$warning")]
    if verdict == "partly" and untouched:
        moved = human_count(layer.filters - untouched)
        return [Fact("trained", f"{moved} of {human_count(layer.filters)} moved{doubt}", "$warning")]
    if verdict == "partly":
        return [Fact("trained", f"{_partly_words(layer)}{doubt}")]
    if verdict == "trained":
        # never a plain yes: weights drawn by something else than TensorFlow look the same
        certainty = f" ({sure})" if sure else ""
        return [Fact("trained", f"looks so: not as TensorFlow draws it{certainty}")]
    return [Fact("trained", "can't be told from the values", "$dim")]


def _partly_words(layer: Layer) -> str:
    """Some values never moved, but no filter as a whole: inputs that were never used, or too few values to say."""
    rows, share = layer.initializer.get("rows"), layer.initializer.get("on_grid")
    if isinstance(rows, int) and rows > 0:
        return f"looks so, but for {human_count(rows)} inputs"
    if isinstance(share, float):
        return f"looks so, {share:.0%} of its values not for sure"
    return "partly"


def place_facts(tensor: Tensor) -> list[Fact]:
    """Where the bytes lie: file and offset, or that there are several pieces or none."""
    storage = tensor.storage
    if storage.segment is not None:
        name = safe(PurePath(storage.segment.file).name)
        return [Fact("bytes at", f"{human_count(storage.segment.offset)} in {name}", "$dim", one_line=True)]
    if storage.slices:
        files = {part.segment.file for part in storage.slices}
        return [Fact("bytes in", f"{len(storage.slices)} slices, {len(files)} files", "$dim")]
    if storage.encoding == "hdf5":
        return [Fact("bytes in", "chunks or filters of the HDF5 file", "$dim")]
    return []


def short_title(tensor: Tensor, width: int) -> str:
    """A tensor's own name, harmless, its middle taken out where it is too long."""
    return fit_middle(safe(own_name(tensor)), width)
