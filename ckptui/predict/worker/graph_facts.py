"""What the client is told of a graph's inputs: what they reach, what they are parsed as, what an image meets first."""

from __future__ import annotations

from typing import Any

from .graph_first import first_of
from .graph_values import Variable
from .graph_walk import Walk


def facts_of(
    graph: Any, inputs: dict[str, str], outputs: dict[str, str], texts: Any, variable: Variable
) -> dict[str, Any]:
    """`connected`, `parsing`, `encoded`, `meets` and `first` of inputs and outputs by tensor.

    Nothing of graphs too large to walk. `texts` are the names of inputs that are strings. `meets` has an entry for
    each input of which the graph tells what it meets first, in the words of `first_layers`; `first` is that of the
    only input.
    """
    facts: dict[str, Any] = {"connected": {}, "parsing": {}, "encoded": {}, "meets": {}, "first": []}
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
    numeric = {name: reference for name, reference in inputs.items() if name not in texts}
    facts["meets"] = first_of(walk, numeric, variable)
    if len(inputs) == 1:
        facts["first"] = next(iter(facts["meets"].values()), [])
    return facts
