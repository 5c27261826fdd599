"""Making untrusted and large things fit to be shown: the one `safe()`, sizes, counts, shapes, numbers."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Collection, Sequence

HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories a terminal may act on or not show: control, format (bidi), surrogate, private, separators."""


def safe(text: str, limit: int = 4096) -> str:
    """Make any string harmless to a terminal: what can't be seen becomes a visible escape, the rest stays.

    Control, format, surrogate and private characters turn into ``\\x1b``, ``\\u202e``; a second combining mark in a row
    too (stacked marks leave their line). Longer than `limit` characters ends in an ellipsis.
    """
    if len(text) <= limit and text.isascii() and text.isprintable() and "\\" not in text:
        return text
    out: list[str] = []
    after_mark = False
    for char in text[:limit]:
        category = unicodedata.category(char)
        mark = category in ("Mn", "Me")
        if char == "\\":
            out.append("\\\\")
        elif category in HIDDEN_CATEGORIES or (mark and after_mark):
            code = ord(char)
            width = (2, "x") if code < 0x100 else (4, "u") if code < 0x10000 else (8, "U")
            out.append(f"\\{width[1]}{code:0{width[0]}x}")
        else:
            out.append(char)
        after_mark = mark
    return "".join(out) + ("…" if len(text) > limit else "")


PLAIN_SIGNS = {
    "−": "-", "–": "-", "×": "x", "…": "...", "·": "-", "✖": "x", "▲": "!", "✔": "+", "○": "o",
    **dict(zip("▁▂▃▄▅▆▇█", ".:-=+*#@", strict=True)),
}  # fmt: skip
"""ckptui's own signs, and what stands for them where the encoding lacks them."""
_PLAIN_TABLE = str.maketrans(PLAIN_SIGNS)


def encodable(text: str, encoding: str) -> str:
    """The text as `encoding` can write it: own signs by a likeness, anything else it lacks as an escape."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN_TABLE).encode(encoding, "backslashreplace").decode(encoding)
    return text


def middle(text: str, width: int) -> str:
    """Shorten to `width` characters by taking out the middle: both ends of a tensor name matter."""
    if len(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail = (width - 1 + 1) // 2
    head = width - 1 - tail
    return text[:head] + "…" + text[len(text) - tail :]


def telling(
    text: str,
    others: Collection[str],
    width: int,
    shorten: Callable[[str, int], str] = middle,
    size: Callable[[str], int] = len,
) -> str:
    """Shorten to `width`, and where that would make it read like one of `others`, keep what tells them apart.

    `…0001 label` of `class 0001 label`: the beginning and the end that all have in common go first. `shorten` and
    `size` measure in the same units.
    """
    short = shorten(text, width)
    every = [text, *others]
    if short == text or all(shorten(other, width) != short for other in others if other != text):
        return short
    begin = _alike(every)
    rest = [one[begin:] for one in every]
    end = _alike([one[::-1] for one in rest])
    word = begin
    while word and text[word - 1].isalnum():  # a number stays whole where there is room
        word -= 1
    found = short
    for start, stop in ((word, len(text)), (word, len(text) - end), (begin, len(text) - end)):
        found = ("…" if start else "") + text[start:stop] + ("…" if stop < len(text) else "")
        if size(found) <= width:
            return found
    return shorten(found, width)


def _alike(texts: Sequence[str]) -> int:
    """How many characters all of them begin with."""
    least, most = min(texts), max(texts)
    return next((place for place, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))


def shorten_name(name: str, width: int) -> str:
    """Shorten a variable's name so that layers stay apart: `batch_n…ion_4_1/moving_mean`.

    What comes after the last slash stays whole, and of the layer its end, where numbers stand; `middle` where that
    leaves no room.
    """
    layer, slash, leaf = name.rpartition("/")
    room = width - len(leaf) - 1
    if len(name) <= width or not slash or room < LEAST_LAYER:
        return middle(name, width)
    return f"{middle(layer, room)}/{leaf}"


LEAST_LAYER = 9
"""Characters below which a layer is not shortened by itself."""


def human_bytes(count: float) -> str:
    """`3.4 kB`, powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def human_count(count: int) -> str:
    """`58,423`."""
    return f"{count:,}"


def counted(count: int, one: str, several: str = "") -> str:
    """`1 image`, `2,000 images`; `several` where an s is not enough."""
    return f"{human_count(count)} {one if count == 1 else several or one + 's'}"


def step_text(step: int) -> str:
    """`16,384`; the time that an export is named by stays as it is written: `1700000000`."""
    return human_count(step) if abs(step) < TIMESTAMP else str(step)


TIMESTAMP = 100_000_000
"""A step from this number on is a time: exports are named so, and hours are no measure of training."""


def shape_text(shape: Sequence[int | None] | None) -> str:
    """`3×3×1×32`, `scalar`, `?×28×28`."""
    if shape is None:
        return "?"
    return "×".join("?" if d is None else str(d) for d in shape) or "scalar"


def number_text(value: float | int | None, digits: int = 4) -> str:
    """A number in few columns: `0.0013`, `−1.21`, `4.2e−08`, `nan`, `–` for none. A true minus sign."""
    if value is None:
        return "–"
    if isinstance(value, int):
        text = str(value) if abs(value) < 10**9 else f"{value:.{digits - 1}e}"
    elif math.isnan(value):
        return "nan"
    elif math.isinf(value):
        text = "inf" if value > 0 else "-inf"
    elif value == 0:
        text = "0"
    elif 1e-4 <= abs(value) < 10 ** (digits + 1):
        text = f"{value:.{digits}g}"
    else:
        mantissa, exponent = f"{value:.{max(digits - 3, 1)}e}".split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")
