"""Which tensor of one save is the other save's which: by stored name, then by the variable's own name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ckptui.core.model import Tensor
from ckptui.core.names import clean

Match = tuple[Tensor | None, Tensor | None, str | None]
"""(baseline's, candidate's, matched by); one side and the last are None where a tensor stands alone."""

_OPTIMIZER_ROLES = frozenset({"slot", "counter", "step", "rng-state"})


def match(a: Sequence[Tensor], b: Sequence[Tensor], pattern: str | re.Pattern[str] | None = None) -> list[Match]:
    """Pair the tensors of two saves: A's order, then what only B has. Object graphs are left out.

    Equal names pair unless one is an optimizer's and the other a weight; what is left pairs by variable name
    (`conv1/kernel`, from object graph, weight path or the name itself), where that is unique on both sides and the
    roles agree. `pattern` keeps tensors whose stored or variable name it is found in.
    """
    wanted = re.compile(pattern) if isinstance(pattern, str) else pattern
    left, right = _kept(a, wanted), _kept(b, wanted)
    by_name = {t.name: t for t in right}
    partner: dict[str, tuple[Tensor, str]] = {}
    for tensor in left:
        same = by_name.get(tensor.name)
        if same is not None and _same_kind(tensor, same):
            partner[tensor.name] = (same, "name")
    _by_variable(left, right, partner)
    taken = {other.name for other, _ in partner.values()}
    matched: list[Match] = [(t, *partner[t.name]) if t.name in partner else (t, None, None) for t in left]
    matched.extend((None, t, None) for t in right if t.name not in taken)
    return matched


def variable_name(tensor: Tensor) -> str:
    """The variable's own name, as far as the save tells: `conv1/kernel`."""
    return clean(tensor.object_path or tensor.name)


def _by_variable(left: list[Tensor], right: list[Tensor], partner: dict[str, tuple[Tensor, str]]) -> None:
    taken = {other.name for other, _ in partner.values()}
    lone_left = _unique((t for t in left if t.name not in partner), variable_name)
    lone_right = _unique((t for t in right if t.name not in taken), variable_name)
    for name, tensor in lone_left.items():
        other = lone_right.get(name)
        if other is not None and other.role == tensor.role:
            partner[tensor.name] = (other, "full-name")


def _kept(tensors: Iterable[Tensor], wanted: re.Pattern[str] | None) -> list[Tensor]:
    return [
        t
        for t in tensors
        if t.role != "object-graph" and (wanted is None or wanted.search(t.name) or wanted.search(t.object_path))
    ]


def _unique(tensors: Iterable[Tensor], key: Callable[[Tensor], str]) -> dict[str, Tensor]:
    """Tensors by key, those left out that share one: guessing between two would be worse than none."""
    listed = list(tensors)
    counts = Counter(key(t) for t in listed)
    return {key(t): t for t in listed if counts[key(t)] == 1}


def _same_kind(one: Tensor, other: Tensor) -> bool:
    return (one.role in _OPTIMIZER_ROLES) == (other.role in _OPTIMIZER_ROLES)
