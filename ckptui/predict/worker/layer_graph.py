"""The graph of layers of a Keras model, whichever Keras made it: its calls in the order in which they run."""

from __future__ import annotations

from typing import Any

from .ends import leaves


def graph_of(model: Any) -> Any:
    """The graph behind a model that does nothing but run it; None for one whose own `call` decides."""
    inner = getattr(model, "_functional", None)
    owner = getattr(type(model).call, "__qualname__", "") if hasattr(type(model), "call") else ""
    if owner not in ("Functional.call", "Sequential.call"):
        return None
    graph = inner if inner is not None else model
    if not getattr(graph, "_nodes_by_depth", None):
        return None
    return graph


class Step:
    """One call of one layer (or plain operation) in a graph. Tensors go by keys: the graph's own ids of them."""

    def __init__(self, node: Any) -> None:
        self._node = node
        self._second = hasattr(node, "layer") and not hasattr(node, "operation")
        """Made by Keras 2."""
        self.operation = node.layer if self._second else node.operation
        self.is_input = bool(node.is_input)
        if self._second:
            self.takes = [str(key) for key in node.flat_input_ids]
            self.gives = [str(key) for key in node.flat_output_ids]
        else:
            self.takes = [str(id(tensor)) for tensor in node.input_tensors]
            self.gives = [str(id(tensor)) for tensor in node.outputs]

    def arguments(self, live: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """(args, kwargs) of the call with the tensors that were computed."""
        if self._second:
            args, kwargs = self._node.map_arguments({key: [live[key]] * 8 for key in self.takes})
        else:
            args, kwargs = self._node.arguments.fill_in({int(key): live[key] for key in self.takes})
        return args, dict(kwargs)

    def symbolic(self) -> tuple[Any, dict[str, Any]]:
        """(args, kwargs) as the graph keeps them: constants as they are, tensors as symbols."""
        if self._second:
            return self._node.call_args, dict(self._node.call_kwargs)
        return self._node.arguments.args, dict(self._node.arguments.kwargs)


def steps_of(graph: Any) -> list[Step]:
    """Every call, inputs first, each after all that it takes."""
    depths = graph._nodes_by_depth
    return [Step(node) for depth in sorted(depths, reverse=True) for node in depths[depth]]


def keys_of(tensors: Any) -> list[str]:
    """The keys of a graph's own inputs or outputs, in its order."""
    return [str(id(tensor)) for tensor in tensors]


def matched(graph: Any, given: Any) -> list[Any]:
    """The tensors a graph is called with, flat and in the order, dtype and rank of its inputs."""
    if hasattr(graph, "_standardize_inputs"):
        return list(graph._standardize_inputs(given))
    flat = list(graph._flatten_to_reference_inputs(given))
    return [graph._conform_to_reference_input(x, ref_input=y) for x, y in zip(flat, graph.inputs)]


def flat_tensors(value: Any) -> list[Any]:
    """Every tensor of a structure, in the order Keras flattens one: dicts by their sorted keys."""
    if isinstance(value, dict):
        return [tensor for key in sorted(value) for tensor in flat_tensors(value[key])]
    if isinstance(value, (list, tuple)):
        return [tensor for inner in value for tensor in flat_tensors(inner)]
    return [value] if hasattr(value, "dtype") and hasattr(value, "shape") else []


def symbols(value: Any) -> list[Any]:
    """Every leaf of a structure, constants among them."""
    return [leaf for _, leaf in leaves(value)]
