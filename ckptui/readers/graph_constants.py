"""The small constants of a graph, and which of them a step works with: scales, offsets, an epsilon.

A constant is a node beside the step, one of the graph that a function was given as an argument, or what casts, roots
and the like make of one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

MOST_VALUES = 16
"""Values of a constant that is remembered: a mean for each channel, no table."""
MOST_AXES = 6
MAX_CONSTANTS = 20_000
MAX_ARGUMENTS = 100_000
"""Names of functions' arguments that are remembered."""
MAX_LOOKUPS = 500_000
"""Inputs that are looked up in all."""
MAX_CHAIN = 8
"""Casts and roots one behind the other."""
ARITHMETIC = frozenset({"Mul", "Add", "AddV2", "Sub", "RealDiv"})
PASSING = frozenset({"Identity", "Cast", "Reshape", "ExpandDims", "Sqrt", "Maximum"})
"""What stands between a constant and the step that works with it."""
_FORMATS = {1: "f", 2: "d", 19: "e"}
"""Of `tensor_content`, by DataType."""

Values = tuple[float, ...]


def constant_of(node: Mapping[str, Any]) -> Values | None:
    """The values of a gathered Const node; None where they are no floats, too many, or not all there."""
    tensor = next((e.get("value", {}).get("tensor") for e in node.get("attr", ()) if e.get("key") == "value"), None)
    if not isinstance(tensor, dict) or tensor.get("dtype") not in _FORMATS:
        return None
    sizes = [dim.get("size", 0) for dim in tensor.get("tensor_shape", {}).get("dim", ())]
    count = math.prod(sizes) if len(sizes) <= MOST_AXES else 0
    if not 0 < count <= MOST_VALUES:
        return None
    form = _FORMATS[tensor["dtype"]]
    if content := tensor.get("tensor_content"):
        return struct.unpack(f"<{count}{form}", content) if len(content) == struct.calcsize(f"<{count}{form}") else None
    given = tensor.get("double_val" if form == "d" else "float_val" if form == "f" else "half_val", ())
    if form == "e":
        given = [struct.unpack("<e", struct.pack("<H", code & 0xFFFF))[0] for code in given[:MOST_VALUES]]
    # protobuf leaves out what only repeats the last value; all zeros are left out as a whole
    values = [*given[:count]] or [0.0]
    return tuple(values + values[-1:] * (count - len(values)))


def take_constant(home: dict[str, Any], function: str, node: Mapping[str, Any]) -> None:
    """Remember a gathered Const under the function it stands in, in `home["constants"]`."""
    counted = home.setdefault("constants_taken", [0])
    if counted[0] < MAX_CONSTANTS and (values := constant_of(node)) is not None:
        counted[0] += 1
        home.setdefault("constants", {}).setdefault(function, {})[node.get("name", "")] = values


def take_passing(home: dict[str, Any], function: str, op: str, node: Mapping[str, Any]) -> None:
    """Remember what makes other values of a constant, in `home["passing"]`."""
    counted = home.setdefault("constants_taken", [0])
    if counted[0] < MAX_CONSTANTS and node.get("input"):
        counted[0] += 1
        home.setdefault("passing", {}).setdefault(function, {})[node.get("name", "")] = (op, tuple(node["input"][:2]))


def take_arguments(home: dict[str, Any], parent: Mapping[str, Any]) -> None:
    """Remember what a function calls its arguments, in `home["arguments"]`."""
    signature = parent.get("signature", {})
    known = home.setdefault("arguments", {})
    name = signature.get("name", "")
    if name not in known:
        counted = home.setdefault("arguments_taken", [0])
        names = [argument.get("name", "") for argument in signature.get("input_arg", ())]
        counted[0] += len(names)
        known[name] = names if counted[0] <= MAX_ARGUMENTS else []


def node_of(reference: str) -> str:
    """`mul/y:output:0` and `mul/y:0` as `mul/y`."""
    return reference.partition(":")[0]


class Constants:
    """What is constant while a signature runs."""

    def __init__(self, graph: Mapping[str, Any], library: Mapping[str, Any]) -> None:
        self._homes = graph, library
        self._left = MAX_LOOKUPS

    def arguments(
        self, called: str, inputs: Sequence[str], function: str, bound: Mapping[str, Values]
    ) -> dict[str, Values]:
        """The constants that a call hands over, by the names the called function has for them."""
        if self._left < 0 or not (bound or function in self._homes[bool(function)].get("constants", {})):
            return {}
        names = self._homes[1].get("arguments", {}).get(called, ())
        found = ((name, self.value(reference, function, bound)) for name, reference in zip(names, inputs, strict=False))
        return {name: values for name, values in found if values is not None}

    def value(self, reference: str, function: str, bound: Mapping[str, Values], depth: int = 0) -> Values | None:
        """What an input is where it is constant."""
        self._left -= 1
        if self._left < 0 or depth > MAX_CHAIN:
            return None
        home = self._homes[bool(function)]
        name = node_of(reference)
        found: Values | None = bound.get(name) or home.get("constants", {}).get(function, {}).get(name)
        if found is None and name in (passing := home.get("passing", {}).get(function, {})):
            op, inputs = passing[name]
            given = [self.value(one, function, bound, depth + 1) for one in inputs[: 2 if op == "Maximum" else 1]]
            found = _passed(op, [one for one in given if one is not None]) if None not in given else None
        return found

    def operand(self, inputs: Sequence[str], function: str, bound: Mapping[str, Values]) -> dict[str, Any]:
        """The one constant of two inputs, as attributes of an operation (`core.vocabulary.Operation`)."""
        if len(inputs) < 2:
            return {}
        values = [self.value(one, function, bound) for one in inputs[:2]]
        if (values[0] is None) == (values[1] is None):
            return {}
        first = values[0] is not None
        return {"operand": list(values[not first] or ()), "operand_first": first, "of": node_of(inputs[first])}


def _passed(op: str, given: Sequence[Values]) -> Values | None:
    if op == "Sqrt":
        return tuple(map(math.sqrt, given[0])) if all(value >= 0 for value in given[0]) else None
    if op == "Maximum":
        longer, other = sorted(given, key=len, reverse=True)
        return tuple(max(value, other[0]) for value in longer) if len(other) == 1 else None
    return given[0]
