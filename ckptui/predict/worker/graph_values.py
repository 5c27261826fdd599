"""What an operand of a saved graph is before anything is fed: constants, variables, and what is computed of these.

Only the few operations are known that layers in front of a model make their numbers with.
"""

from __future__ import annotations

from typing import Any, Callable

from .graph_walk import Scope, split

MOST_VALUES = 1 << 22
"""Values of a constant that is read: a mean image, no table."""
MOST_NUMBERS = 4096
"""Numbers that are told of one; of more, the means over each channel."""
MOST_CHANNELS = 4
DEEPEST = 30
SAME = frozenset(
    {
        "Identity",
        "ReadVariableOp",
        "StopGradient",
        "Snapshot",
        "EnsureShape",
        "PlaceholderWithDefault",
        "PreventGradient",
    }
    | {"Reshape", "ExpandDims", "Squeeze", "Cast", "BroadcastTo", "Enter"}
)
"""Operations that hand on the numbers of their first input; with a shape of their own some, which matters to none."""
VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
WAS_READ = ("/read", "ReadVariableOp")
"""How the name of what read a variable ends, before the graph was frozen."""
BINARY = ("Mul", "Add", "AddV2", "Sub", "RealDiv", "Div", "Maximum", "Minimum")
UNARY = ("Sqrt", "Rsqrt", "Neg", "Square", "Reciprocal")

Variable = Callable[[str, Any], Any]
"""Of a variable's name and its place among the captures of the function called (from the end; None in a graph
without one): (values or None, whether it is trained), or None where there is no such variable."""


class Known:
    """An operand that does not depend on what is fed."""

    def __init__(self, array: Any, trained: bool = False, kinds: frozenset[str] = frozenset()) -> None:
        self.array = array
        """float64; None for a variable without a value."""
        self.trained = trained
        """A variable that training changes is in it, or what was one before the graph was frozen."""
        self.kinds = kinds
        """Operations it was computed with."""

    def numbers(self) -> list[float] | None:
        """Its numbers in a row, of large ones the means over each channel; None where they are not known or finite."""
        import numpy as np

        if self.array is None or not self.array.size or not np.isfinite(self.array).all():
            return None
        array = self.array
        if array.size > MOST_NUMBERS:
            array = array.reshape(-1, array.shape[-1]).mean(0) if array.shape[-1] <= MOST_CHANNELS else array.mean()
        return [float(number) for number in np.asarray(array).reshape(-1)]


class Values:
    """Looks operands up."""

    def __init__(self, variable: Variable, fixed: Any = ()) -> None:
        """`fixed`: by name what is fed to the graph's placeholders at every call, as far as that is a number."""
        self._variable = variable
        self._fixed = dict(fixed)

    def of(self, scope: Scope, reference: str, slot: Any = None, depth: int = 0) -> Known | None:
        """What a reference within `scope` stands for; None where that depends on what is fed, or is not understood."""
        source = split(reference)[0]
        node = scope.body.nodes.get(source)
        if depth > DEEPEST:
            return None
        if node is None or node.op == "_Arg":
            return self._argument(scope, source, depth)
        if node.op == "Const":
            return constant(node)
        if source in self._fixed and scope.caller is None:
            import numpy as np

            value = self._fixed[source]
            return Known(np.float64(value)) if isinstance(value, (bool, int, float)) else None
        if node.op in VARIABLES:
            shared = node.attr["shared_name"].s.decode("utf-8", "replace") if "shared_name" in node.attr else ""
            found = self._variable(shared or str(node.name), slot)
            return None if found is None else Known(found[0], bool(found[1]))
        inputs = [str(entry) for entry in node.input if not entry.startswith("^")]
        if node.op in SAME and inputs:
            given = self.of(scope, inputs[0], slot, depth + 1)
            if given is None:
                return None
            frozen = str(node.name).endswith(WAS_READ) and self._constant(scope, inputs[0])
            return Known(given.array, given.trained or frozen, given.kinds)
        if node.op in UNARY + BINARY:
            operands = [self.of(scope, entry, None, depth + 1) for entry in inputs]
            return None if None in operands else computed(str(node.op), operands)
        return None

    def _argument(self, scope: Scope, source: str, depth: int) -> Known | None:
        if source not in scope.body.args or scope.caller is None:
            return None
        call = scope.caller.body.nodes[scope.call]
        inputs = [str(entry) for entry in call.input if not entry.startswith("^")]
        place = scope.body.args.index(source) + scope.first
        if place >= len(inputs):
            return None
        slot = place - len(inputs) if scope.caller.caller is None else None
        return self.of(scope.caller, inputs[place], slot, depth + 1)

    @staticmethod
    def _constant(scope: Scope, reference: str) -> bool:
        node = scope.constant(reference)
        return node is not None and node.op == "Const"


def constant(node: Any) -> Known | None:
    """The numbers of a Const; None for others and for more than are read."""
    import numpy as np
    import tensorflow

    tensor = node.attr["value"].tensor
    extents = [int(dim.size) for dim in tensor.tensor_shape.dim]
    if any(extent < 0 for extent in extents) or np.prod(extents, dtype=float) > MOST_VALUES:
        return None
    try:
        array = tensorflow.make_ndarray(tensor)
        if array.dtype.kind not in "iufb" and array.dtype.name != "bfloat16":
            return None
        return Known(array.astype(np.float64))
    except (TypeError, ValueError):  # what a file holds may be no tensor at all
        return None


def computed(op: str, given: Any) -> Known | None:
    """What an operation makes of known operands."""
    import numpy as np

    made = None
    if all(one.array is not None for one in given):
        functions: dict[str, Any] = {
            "Mul": np.multiply, "Add": np.add, "AddV2": np.add, "Sub": np.subtract, "RealDiv": np.divide,
            "Div": np.divide, "Maximum": np.maximum, "Minimum": np.minimum, "Sqrt": np.sqrt, "Neg": np.negative,
            "Square": np.square, "Reciprocal": np.reciprocal, "Rsqrt": lambda value: 1 / np.sqrt(value),
        }  # fmt: skip
        try:
            with np.errstate(all="ignore"):
                made = functions[op](*[one.array for one in given])
        except (TypeError, ValueError):  # shapes that do not fit, another number of inputs
            return None
    kinds = frozenset({op}).union(*[one.kinds for one in given])
    return Known(made, any(one.trained for one in given), kinds)
