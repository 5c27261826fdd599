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
    """What inputs and outputs by tensor are: `connected`, `parsing`, `encoded`, `meets`, `first`, `random`, and more.

    Nothing of graphs too large to walk. `texts` are the names of inputs that are strings. `decoders` are the operations
    that decode an image of each, or of a field parsed out of it, `base64` the inputs that these get as base64, and
    `webp` says whether they read WebP here. `meets` has an entry for each input of which the graph tells what it meets
    first, in the words of `first_layers`; `first` is that of the only input, or the only one that reaches an output.
    `random` are the operations that draw what the outputs are made of (`random_of`), with the placeholders in `fixed`
    as they are.
    """
    facts: dict[str, Any] = {"connected": {}, "parsing": {}, "encoded": {}, "meets": {}, "first": [], "random": []}
    facts.update(decoders={}, base64=[], webp=reads_webp())
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
        if name in texts and found.decoders:
            facts["decoders"][name] = sorted(found.decoders)
        if name in texts and found.base64 and not found.plain:
            facts["base64"].append(name)
    values = Values(variable, fixed)
    numeric = {name: reference for name, reference in inputs.items() if name not in texts}
    facts["meets"] = first_of(walk, numeric, values)
    facts["random"] = random_of(walk, outputs, values)
    needed = [name for name in inputs if facts["connected"][name]] or list(inputs)
    if len(needed) == 1:
        facts["first"] = facts["meets"].get(needed[0], [])
    return facts


def reads_webp() -> bool:
    """Whether this TensorFlow decodes WebP: where it does, in every operation that decodes images."""
    import tensorflow

    return hasattr(tensorflow.raw_ops, "DecodeWebP")
