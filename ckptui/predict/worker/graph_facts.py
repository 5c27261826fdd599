"""What the client is told of a graph's inputs: what they reach, what they are parsed as, what an image meets first."""

from __future__ import annotations

from typing import Any

from .graph_first import first_of
from .graph_random import random_of
from .graph_values import Values, Variable
from .graph_walk import Walk


def facts_of(
    graph: Any, inputs: dict[str, str], outputs: dict[str, str], texts: Any, variable: Variable, fixed: Any = ()
) -> dict[str, Any]:
    """`connected`, `parsing`, `encoded`, `meets`, `first` and `random` of inputs and outputs by tensor.

    Nothing of graphs too large to walk. `texts` are the names of inputs that are strings. `meets` has an entry for
    each input of which the graph tells what it meets first, in the words of `first_layers`; `first` is that of the
    only input, or the only one that reaches an output. `random` are the operations that draw what the outputs are
    made of (`random_of`), with the placeholders in `fixed` as they are.
    """
    facts: dict[str, Any] = {"connected": {}, "parsing": {}, "encoded": {}, "meets": {}, "first": [], "random": []}
    walk = Walk(graph)
    if not walk.usable:
        return facts
    for name, reference in inputs.items():
        found = walk.reach(reference, outputs)
        facts["connected"][name] = found.everything or bool(found.outputs)
        if name in texts and found.parsing:
            facts["parsing"][name] = found.parsing
        elif name in texts and found.encoded is not None:
            facts["encoded"][name] = found.encoded
    values = Values(variable, fixed)
    numeric = {name: reference for name, reference in inputs.items() if name not in texts}
    facts["meets"] = first_of(walk, numeric, values)
    facts["random"] = random_of(walk, outputs, values)
    needed = [name for name in inputs if facts["connected"][name]] or list(inputs)
    if len(needed) == 1:
        facts["first"] = facts["meets"].get(needed[0], [])
    return facts
