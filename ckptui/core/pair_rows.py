"""The row of a diff: its status, and in words what keeps two tensors from being one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckptui.core import dtypes
from ckptui.core.model import Pair, PairStatus, Tensor

if TYPE_CHECKING:
    from ckptui.core.diff import PairNumbers

APPEARED = " appeared in "
"""In the words about values that B has and A has not: NaN, infinities."""

Shape = tuple[int, ...]


def pair_of(
    a: Tensor | None,
    b: Tensor | None,
    matched_by: str | None,
    numbers: PairNumbers | None = None,
    problem: str = "",
    remarks: Sequence[str] = (),
) -> Pair:
    """The row of a diff. `numbers` only where both were read.

    `problem`: why one could not be; `remarks`: what else is to be known of it.
    """
    some = a or b
    if some is None:
        raise ValueError("a pair has at least one tensor")
    status = _status(a, b, numbers, problem)
    # what lies in the way of the values of two shapes does not hide that they are two
    detail = [problem] if status == "unreadable" and problem else [_difference(a, b), problem]
    detail += remarks
    if status in ("shape-changed", "unreadable"):
        numbers = None
    if numbers is not None:
        detail += numbers.remarks
    return Pair(
        a=a.name if a else None,
        b=b.name if b else None,
        role=some.role,
        status=status,
        matched_by=matched_by if a and b else None,
        max_abs=numbers.max_abs if numbers else None,
        mean_abs=numbers.mean_abs if numbers else None,
        rms=numbers.rms if numbers else None,
        relative_l2=numbers.relative_l2 if numbers else None,
        cosine=numbers.cosine if numbers else None,
        changed=numbers.changed if numbers else None,
        count=numbers.count if numbers else some.count,
        detail=", ".join(part for part in detail if part),
        left_out=numbers.left_out if numbers else 0,
    )


def comparable(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether values can be held against each other: both there, of one shape, strings only with strings."""
    if a is None or b is None or a.shape != b.shape:
        return False
    return a.dtype == b.dtype or "other" not in (kind_of(a.dtype), kind_of(b.dtype))


def kind_of(dtype: str) -> str:
    """`real`, `complex` or `other`: strings, variants, dtypes that no one knows or that numpy lacks here."""
    if dtypes.is_complex(dtype):
        return "complex"
    return "real" if dtypes.is_float(dtype) or dtypes.is_integer(dtype) or dtype == "bool" else "other"


def _status(a: Tensor | None, b: Tensor | None, numbers: PairNumbers | None, problem: str) -> PairStatus:
    if a is None or b is None:
        return "only-b" if a is None else "only-a"
    if a.shape != b.shape:
        return "shape-changed"
    if problem:
        return "unreadable"
    if a.dtype != b.dtype:
        return "dtype-changed"
    if numbers is None:
        return "unreadable"
    return "changed" if numbers.changed else "identical"


def _difference(a: Tensor | None, b: Tensor | None) -> str:
    if a is None or b is None:
        return ""
    words = [] if a.shape == b.shape else [shapes_apart(a.shape, b.shape)]
    if a.dtype != b.dtype:
        words.append(f"{a.dtype} against {b.dtype}")
    return ", ".join(words)


def shapes_apart(a: Shape, b: Shape) -> str:
    """Which axes of two different shapes differ, and how."""
    if len(a) != len(b):
        words = f"{len(a)} axes against {len(b)}"
        alike = [n for n in a if n != 1] == [n for n in b if n != 1]
        return f"{words} (the same but for axes of length 1)" if alike else words
    differ = [axis for axis, (m, n) in enumerate(zip(a, b, strict=True)) if m != n]
    sizes = ", ".join(f"axis {axis}: {a[axis]} against {b[axis]}" for axis in differ)
    if sorted(a) != sorted(b):
        return sizes
    if len(differ) == 2:
        return f"axes {differ[0]} and {differ[1]} swapped: {sizes}"
    return f"the same axes in another order: {sizes}"
