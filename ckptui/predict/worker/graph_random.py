"""Which operations that draw random numbers a graph's outputs are computed from, bodies of branches and loops entered.

Found backwards from the outputs: what draws the first values of variables is not met. A branch that is never taken at
inference is left out where its condition is known.
"""

from __future__ import annotations

import re
from typing import Any, Iterator

from .graph_values import Values
from .graph_walk import BRANCHING, DEEPEST, LOOPS, MOST_STEPS, Scope, Walk, branches, split

DRAWS = re.compile(
    r"(Stateless)?(Random|TruncatedNormal|ParameterizedTruncatedNormal|Multinomial|SampleDistorted|Shuffle).*"
    r"|Stateful(Uniform|StandardNormal|TruncatedNormal|Random).*"
)
MOST_TOLD = 50
NEAR = 8
"""Operations that are looked back over for the branch one stands in, in graphs of TensorFlow 1."""


def random_of(walk: Walk, outputs: dict[str, str], values: Values) -> list[dict[str, Any]]:
    """`{"name", "op", "seed", "seed2"}` of each, in no order that means anything; seeds where it has any."""
    top = Scope(walk.top, None, "", 0, 0)
    waiting = [(top, *split(reference)) for reference in outputs.values()]
    seen: set[Any] = set()
    found: dict[str, dict[str, Any]] = {}
    while waiting and len(seen) < MOST_STEPS and len(found) < MOST_TOLD:
        scope, source, output = waiting.pop()
        node = scope.body.nodes.get(source)
        if node is None or (id(scope), source, output) in seen:
            continue
        seen.add((id(scope), source, output))
        if DRAWS.fullmatch(str(node.op)) and not untaken(scope, str(node.name), values, NEAR):
            found.setdefault(str(node.name), entry_of(node))
        for inner in inside(walk, scope, node, values):
            for result, places in inner.body.results.items():
                wanted = node.op in BRANCHING or not output.isdigit() or any(str(at) == output for at, _ in places)
                waiting.extend((inner, result, told) for _, told in places if wanted)
        # what merely has to run before hands no number on
        waiting.extend((scope, *split(str(entry))) for entry in node.input if not entry.startswith("^"))
    return [found[name] for name in sorted(found)]


def entry_of(node: Any) -> dict[str, Any]:
    """What is told of one operation."""
    entry: dict[str, Any] = {"name": str(node.name), "op": str(node.op)}
    entry.update({key: int(node.attr[key].i) for key in ("seed", "seed2") if key in node.attr})
    return entry


def inside(walk: Walk, scope: Scope, node: Any, values: Values) -> Iterator[Scope]:
    """A call's functions, of a choice only the one that is taken where that is known."""
    called = walk.calls(node) if scope.depth < DEEPEST else []
    choice = chosen(scope, node, values) if called else None
    for name, first in called:
        if choice is None or name == choice:
            key = (str(node.name), name)
            if key not in scope.inside:
                scope.inside[key] = Scope(walk.body(name), scope, str(node.name), first, scope.depth + 1)
            yield scope.inside[key]


def chosen(scope: Scope, node: Any, values: Values) -> str | None:
    """The function that an If or a Case runs, where its condition does not hang on what is fed."""
    if node.op not in BRANCHING or node.op in LOOPS:
        return None
    told = values.of(scope, str(node.input[0]))
    if told is None or told.array is None or told.array.size != 1:
        return None
    named, choice = branches(node), int(told.array.reshape(-1)[0])
    if str(node.op).endswith("If"):
        choice = 0 if choice else 1
    return named[choice] if 0 <= choice < len(named) else named[-1]


def untaken(scope: Scope, reference: str, values: Values, near: int) -> bool:
    """Whether it stands behind the side of a Switch that is never taken."""
    source, output = split(reference)
    node = scope.body.nodes.get(source)
    if node is None or not near or node.op in ("Merge", "RefMerge", "Enter", "NextIteration"):
        return False
    if node.op in ("Switch", "RefSwitch"):
        told = values.of(scope, str(node.input[1]))
        if told is not None and told.array is not None and told.array.size == 1:
            return output != str(int(bool(told.array.reshape(-1)[0])))
    return any(untaken(scope, str(entry), values, near - 1) for entry in node.input)
