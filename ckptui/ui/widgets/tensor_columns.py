"""Which columns of the tensor table fit, and what stands in their cells. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len

from ckptui.core.dtypes import NAMES
from ckptui.core.model import Tensor, TensorScan
from ckptui.core.text import human_bytes, number_text, safe, shape_text
from ckptui.ui.fitting import left, right

NAME_MIN, NAME_MAX = 8, 44
SIGNED, UNSIGNED = 8, 7
"""Cells of a number of three digits, with and without a sign: `−1.2e−12`, `0.00123`."""
SHAPE_MAX, DTYPE_MAX = 20, 14
LARGE = 99_999
"""Integers beyond this are shown as powers of ten."""


@dataclass(frozen=True, slots=True)
class Wants:
    """How wide the parts of a listing's rows are."""

    name: int
    shape: int
    state: int
    dtype: int = 8


@dataclass(frozen=True, slots=True)
class Column:
    """One column, its gap to the left included in no width."""

    id: str
    head: str
    width: int
    right: bool = True


GAP = 2


def choose_columns(width: int, wants: Wants) -> list[Column]:
    """The columns that fit `width` whole, in the order shown; the name takes what is left.

    A column that does not fit is dropped, never cut. The first ones may shorten long names in their middle, the
    rest come only when the names have what they want (at most `NAME_MAX`). State goes last of all.
    """
    names = min(max(wants.name, NAME_MIN), NAME_MAX)
    state = Column("state", "state", max(5, wants.state), right=False)
    shape = Column("shape", "shape", max(5, min(wants.shape, SHAPE_MAX)))
    optional = [
        (state, NAME_MIN),
        (shape, 16),
        (Column("std", "std", UNSIGNED), min(names, 13)),
        (Column("mean", "mean", SIGNED), min(names, 22)),
        (Column("dtype", "dtype", wants.dtype, right=False), names),
        (Column("min", "min", SIGNED), names),
        (Column("max", "max", SIGNED), names),
        (Column("size", "size", 8), names),
    ]
    chosen: set[str] = set()
    room = width - 2
    for column, name_wants in optional:
        pair = 2 if column.id == "min" else 1
        if room - pair * (column.width + GAP) < name_wants:
            break
        room -= column.width + GAP
        chosen.add(column.id)
    by_id = {column.id: column for column, _ in optional}
    order = ("shape", "dtype", "size", "mean", "std", "min", "max", "state")
    columns = [by_id[name] for name in order if name in chosen]
    return [Column("name", "name", max(room, 1), right=False), *columns]


def cell_text(column: str, tensor: Tensor, scan: TensorScan | None) -> str:
    """What stands in a cell of an ordinary column."""
    if column == "shape":
        if tensor.problem and not tensor.shape and tensor.dtype not in NAMES.values():
            return "–"
        return shape_text(tensor.shape)
    if column == "dtype":
        return safe(tensor.dtype)
    if column == "size":
        return human_bytes(tensor.bytes)
    stats = scan.stats if scan is not None else None
    if scan is None:
        return ""
    if stats is None or scan.checksum == "unread":
        return "–"
    value = getattr(stats, column)
    if column in ("mean", "std") and stats.nan:
        return "nan"
    return _short(float(value) if isinstance(value, int) and abs(value) > LARGE else value)


def _short(value: float | int | None) -> str:
    """Three digits, or fewer where they would not fit the column."""
    text = number_text(value, 3)
    if len(text) <= UNSIGNED or (text.startswith("−") and len(text) <= SIGNED) or value is None:
        return text
    text = number_text(value, 2)
    return text if len(text) <= SIGNED and text.startswith("−") else f"{value:.0e}".replace("-", "−")


def padded(text: str, column: Column) -> str:
    """The text in exactly the column's width."""
    return right(text, column.width) if column.right else left(text, column.width)


FOLD_LABEL, FOLD_UNIT = 18, 8
"""Cells of the parts of a fold's row where there is room for all of them."""


def fold_text(label: str, count: str, unit: str, size: str, width: int) -> str:
    """The row of a fold: its label, how many it holds, what it takes. The count is never cut: all else goes first."""
    wide = f"{left(label, FOLD_LABEL)} {count} {unit:<{FOLD_UNIT - 1}} {size}"
    close = f"{label} {count.strip()} {unit}".rstrip()
    ways = (wide, f"{close}  {size}", close)
    for text in ways:
        if cell_len(text.rstrip()) <= width:
            return text.rstrip()
    room = width - cell_len(count.strip()) - 1
    return f"{left(label, room)} {count.strip()}" if room > 1 else left(count.strip(), width)
