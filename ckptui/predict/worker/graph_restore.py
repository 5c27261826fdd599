"""Values into the variables of a TensorFlow 1 graph, by the names its own saver restores them under.

A saver's graph reads each value with RestoreV2 (or Restore, RestoreSlice) and hands it to the operation that assigns
it. That operation is run with the value fed in place of what would have been read, so that slices of a partitioned
variable, tables and renamed variables go where the saver puts them.
"""

from __future__ import annotations

from typing import Any

from .errors import Refused, brief

RESTORES = ("RestoreV2", "Restore", "RestoreSlice")
VARIABLES = ("VariableV2", "Variable", "VarHandleOp")
PASSING = ("Identity", "Reshape", "Cast")
UNSAVED = " (no value is saved for it)"


class Slot:
    """Where one saved value goes."""

    def __init__(self, key: str, spec: str, tensor: Any) -> None:
        self.key = key
        self.spec = spec
        """`20 10 0,10:-`: the whole variable's shape and the slice that is meant; empty for all of it."""
        self.tensor = tensor
        self.takers = consumers_of(tensor)


class Restorer:
    """A graph's variables in a session, by saved name."""

    def __init__(self, tensorflow: Any, graph: Any, session: Any, saver: str = "") -> None:
        self._tensorflow = tensorflow
        self._graph = graph
        self._session = session
        self._slots: dict[str, list[Slot]] = {}
        self._values: dict[str, Any] = {}
        self._done: set[str] = set()
        self._by_taker: dict[str, list[Slot]] = {}
        for operation in self._restores(saver):
            for slot in self._slots_of(operation):
                self._slots.setdefault(slot.key, []).append(slot)
                for taker in slot.takers:
                    self._by_taker.setdefault(taker.name, []).append(slot)
        self._needed: dict[str, Any] = {}
        """Variable of each name that is needed."""

    def _restores(self, saver: str) -> list[Any]:
        """The saver's own restoring operations; all of them where it names none."""
        every = [op for op in self._graph.get_operations() if op.type in RESTORES]
        by_name = {op.name: op for op in self._graph.get_operations()} if saver else {}
        start = by_name.get(saver.split(":")[0])
        if start is None:
            return every
        own = {op.name for op in before([start])}
        return [op for op in every if op.name in own] or every

    def _slots_of(self, operation: Any) -> list[Slot]:
        names = constant(self._tensorflow, operation.inputs[1])
        specs = constant(self._tensorflow, operation.inputs[2]) if len(operation.inputs) > 2 else []
        specs = specs or [""] * len(names)
        return [Slot(*three) for three in zip(names, specs, operation.outputs)]

    def need(self, tensors: Any, fed: Any) -> None:
        """Name the variables that `tensors` are computed from, as far as not `fed`."""
        self._needed = {}
        by_variable: dict[str, str] = {}
        for key, slots in self._slots.items():
            for slot in slots:
                for taker in slot.takers:
                    variable = variable_of(taker)
                    if variable is not None:
                        by_variable.setdefault(variable.name, key)
        stops = {tensor.name for tensor in fed}
        for op in before([t.op for t in tensors if t.name not in stops], stops):
            if op.type in VARIABLES:
                self._needed.setdefault(by_variable.get(op.name, op.name + UNSAVED), op)

    def keys(self) -> list[str]:
        """Every name the saver restores."""
        return list(self._slots)

    def names(self) -> list[str]:
        """Saved names of the variables that are needed."""
        return sorted(self._needed)

    def described(self) -> list[list[Any]]:
        """`[name, dtype, shape]` of each that is needed; an unknown shape is [-1]."""
        found = []
        for name in self.names():
            variable = self._needed[name]
            shape = shape_of(variable)
            extents = [-1] if shape.rank is None else [-1 if e is None else int(e) for e in shape.as_list()]
            found.append([name, self._tensorflow.as_dtype(variable.get_attr("dtype")).name, extents])
        return found

    def assign(self, name: str, value: Any) -> str:
        """Hand the value to whatever the saver gives it to; the name.

        Refused where the saver knows no such name, or the value does not fit its variable.
        """
        if name not in self._slots:
            raise Refused("load", "the graph restores nothing of that name")
        self._values[name] = value
        for slot in self._slots[name]:
            for taker in slot.takers:
                self._run(taker)
        self._done.add(name)
        return name

    def _run(self, taker: Any) -> None:
        """Assign, once every value that the operation takes is there."""
        feeds = {}
        for slot in self._by_taker[taker.name]:
            if slot.key not in self._values:
                return
            feeds[slot.tensor] = part_of(self._values[slot.key], slot.spec)
        variable = variable_of(taker)
        if variable is not None and len(feeds) == 1:
            shape, given = shape_of(variable), next(iter(feeds.values())).shape
            if not shape.is_compatible_with(given) and "Reshape" not in [op.type for op in taker_inputs(taker)]:
                raise Refused("load", "shape %s, the graph's is %s" % (list(given), shape))
        try:
            self._session.run(taker, feeds)
        except Exception as error:  # shapes and dtypes that do not fit are told by many kinds of errors
            raise Refused("load", brief(error)) from error

    def zero(self) -> list[str]:
        """Give zeros to what is needed and got no value, so that the graph can be run; the names."""
        lacking = [name for name in self.names() if name not in self._done]
        for name in lacking:
            variable = self._needed[name]
            shape = shape_of(variable)
            if not shape.is_fully_defined():
                continue
            dtype = self._tensorflow.as_dtype(variable.get_attr("dtype"))
            with self._graph.as_default(), self._tensorflow.device(None):
                zeros = self._tensorflow.zeros(shape, dtype)
                raw = self._tensorflow.raw_ops
                if variable.type == "VarHandleOp":
                    assign = raw.AssignVariableOp(resource=variable.outputs[0], value=zeros)
                else:
                    assign = self._tensorflow.compat.v1.assign(variable.outputs[0], zeros).op
            self._session.run(assign)
        return lacking


def consumers_of(tensor: Any) -> list[Any]:
    """Operations that take a restored value, those that only pass it on looked through."""
    found, waiting = [], [tensor]
    while waiting:
        for op in waiting.pop().consumers():
            if op.type in PASSING:
                waiting.extend(op.outputs)
            else:
                found.append(op)
    return found


def taker_inputs(taker: Any) -> list[Any]:
    """The operations whose values an operation takes."""
    return [tensor.op for tensor in taker.inputs]


def variable_of(taker: Any) -> Any:
    """The variable that an assigning operation writes; None where it writes none."""
    if not taker.type.startswith("Assign") or not len(taker.inputs):
        return None
    op = taker.inputs[0].op
    while op.type not in VARIABLES and len(op.inputs):
        op = op.inputs[0].op
    return op if op.type in VARIABLES else None


def shape_of(variable: Any) -> Any:
    """The shape a variable was made with."""
    import tensorflow

    return tensorflow.TensorShape(variable.get_attr("shape"))


def before(operations: Any, stops: Any = ()) -> list[Any]:
    """All that these operations are computed from, control inputs included, not past the tensors in `stops`."""
    found: dict[str, Any] = {}
    waiting = list(operations)
    while waiting:
        op = waiting.pop()
        if op.name in found:
            continue
        found[op.name] = op
        waiting.extend(tensor.op for tensor in op.inputs if tensor.name not in stops)
        waiting.extend(op.control_inputs)
    return list(found.values())


def constant(tensorflow: Any, tensor: Any) -> list[str]:
    """The strings of a constant."""
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    if tensor.op.type != "Const":
        return []
    values = tensorflow.make_ndarray(tensor.op.get_attr("value")).reshape(-1).tolist()
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def part_of(value: Any, spec: str) -> Any:
    """The slice that `20 10 0,10:-` means (core/framework/tensor_slice.h); all of it for an empty one.

    Raises Refused where it lies outside.
    """
    if not spec.strip():
        return value
    *whole, slices = spec.split()
    extents = tuple(int(extent) for extent in whole)
    if tuple(value.shape) != extents:
        raise Refused("load", "shape %s, the graph restores a slice of %s" % (list(value.shape), list(extents)))
    cut = []
    for one in slices.split(":"):
        if one == "-":
            cut.append(slice(None))
        else:
            start, size = (int(part) for part in one.split(","))
            cut.append(slice(start, start + size))
    return value[tuple(cut)]
