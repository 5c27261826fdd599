"""Activations of a Keras model layer by layer over several probes: which layers still follow the input.

A graph of layers is walked call by call, every probe on its own, and a tensor is dropped as soon as nothing needs it
any more. A model whose own `call` decides is called once with all probes, its layers' calls watched.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from .binding import plain_name
from .errors import Refused
from .layer_graph import Step, flat_tensors, graph_of, keys_of, matched, steps_of, symbols
from .layer_spread import Spread, activation_of, array_of
from .snapshot import Snapshot, layers_below, random_inside, seeded_kernels

MAX_ROWS = 20000
CONSTANT = 1e-6
"""A spread up to this share of the scale is none."""


class Walk:
    """A walk through a graph of layers, nested ones opened, for several probes side by side."""

    def __init__(self, tensorflow: Any) -> None:
        self.tensorflow = tensorflow
        self.rows: list[dict[str, Any]] = []
        self._calls: Counter[str] = Counter()

    def model(self, graph: Any, probes: list[list[Any]], names: list[str], training: bool | None = None) -> None:
        """Walk the whole model; `probes` are the flat inputs of each, `names` what its outputs are called."""
        keys = keys_of(graph.inputs)
        for place, layer in enumerate(graph.inputs):
            name = str(getattr(layer, "name", "input"))
            row = self._row(name, "InputLayer", "", [[probe[place]] for probe in probes], [], ())
            row["fed"] = False
        origin = {key: [place] for place, key in enumerate(keys)}
        live = [dict(zip(keys, probe)) for probe in probes]
        _, origins = self._through(graph, live, origin, "", training)
        for name, rows in zip(names, origins):
            for place in rows:
                self.rows[place]["outputs"].append(name)

    def _through(self, graph: Any, live: Any, origin: Any, prefix: str, training: Any) -> tuple[list[Any], list[Any]]:
        """Flat outputs of each probe, and per output the rows it comes from."""
        steps = [step for step in steps_of(graph) if not step.is_input and step.operation is not None]
        ends = keys_of(graph.outputs)
        uses = Counter(key for step in steps for key in set(step.takes)) + Counter(set(ends))
        for step in steps:
            if any(key not in live[0] for key in step.takes):
                continue
            self._step(step, live, origin, prefix, training)
            for key in set(step.takes):
                uses[key] -= 1
                if not uses[key]:
                    for tensors in live:
                        tensors.pop(key, None)
        return [[tensors[key] for key in ends] for tensors in live], [origin[key] for key in ends]

    def _step(self, step: Step, live: Any, origin: Any, prefix: str, training: Any) -> None:
        called = [step.arguments(tensors) for tensors in live]
        sources = sorted({row for key in step.takes for row in origin[key]})
        inner = graph_of(step.operation)
        if inner is not None and all(plainly_called(args, kwargs) for args, kwargs in called):
            outputs, origins = self._nested(step, inner, called, sources, prefix, training)
        else:
            outputs = self._called(step.operation, called, training)
            name = self._named(step.operation, prefix)
            row = self._row(name, *described(step.operation), outputs, sources, plain_weights(step.operation))
            row["fed"] = any(self._varies(source) for source in sources)
            origins = [[len(self.rows) - 1]] * len(step.gives)
        for place, key in enumerate(step.gives):
            origin[key] = origins[place]
            for tensors, flat in zip(live, outputs):
                tensors[key] = flat[place]

    def _nested(
        self, step: Step, inner: Any, called: Any, sources: list[int], prefix: str, training: Any
    ) -> tuple[list[Any], list[Any]]:
        """Open a model within the model."""
        keys = keys_of(inner.inputs)
        lives = [dict(zip(keys, matched(inner, args[0]))) for args, _ in called]
        given = called[0][1].get("training")
        # The flag of the outer call wins, as where Keras itself runs the graph.
        flag = training if training is not None else given
        path = self._named(step.operation, prefix) + "/"
        return self._through(inner, lives, {key: sources for key in keys}, path, flag)

    def _called(self, operation: Any, called: Any, training: Any) -> list[Any]:
        """Flat outputs of each probe; whatever state the layer moves is put back before the next one."""
        state = Snapshot(operation) if random_inside(operation) else None
        outputs = []
        for args, kwargs in called:
            if training is not None and takes_training(operation):
                kwargs["training"] = training
            if seeded_kernels(operation):
                # Traced, it has kernels of its own: the same start for every probe, and plain calls stay undisturbed.
                traced = self.tensorflow.function(lambda: operation(*args, **kwargs), autograph=False)  # noqa: B023
                outputs.append(flat_tensors(traced()))
            else:
                outputs.append(flat_tensors(operation(*args, **kwargs)))
            if state is not None:
                state.restore()
        return outputs

    def _named(self, operation: Any, prefix: str) -> str:
        """The layer's name, with a number from its second call on."""
        name = prefix + str(getattr(operation, "name", "") or type(operation).__name__)
        self._calls[name] += 1
        return name if self._calls[name] == 1 else "%s (call %d)" % (name, self._calls[name])

    def _row(
        self, name: str, class_name: str, activation: str, outputs: Any, sources: Any, weights: Any
    ) -> dict[str, Any]:
        """A new row about `outputs`, a flat list of tensors for each probe."""
        spread = Spread(activation)
        for tensors in zip(*outputs):
            spread.add([array_of(tensor) for tensor in tensors])
        row = dict(
            spread.numbers(),
            layer=name,
            activation=activation,
            sources=list(sources),
            weights=list(weights),
            outputs=[],
        )
        row["class"] = class_name
        self.rows.append(row)
        if len(self.rows) > MAX_ROWS:
            raise Refused("usage", "can't look inside: the model has more than %d layers" % MAX_ROWS)
        return row

    def _varies(self, place: int) -> bool:
        return varies(self.rows[place])


def plainly_called(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a model within the model is given its inputs and nothing else that counts."""
    others = [value for name, value in kwargs.items() if name != "training"]
    return len(args) == 1 and all(leaf is None for leaf in symbols(others))


def varies(row: dict[str, Any]) -> bool:
    """Its values differ between the probes by more than rounding."""
    return row["spread"] is None or row["spread"] > CONSTANT * row["scale"]


def described(operation: Any) -> tuple[str, str]:
    """(class, activation) of a layer; of a function that Keras 2 wrapped, the function's name."""
    class_name = type(operation).__name__
    symbol = getattr(operation, "symbol", None)
    if class_name == "TFOpLambda" and isinstance(symbol, str):
        return class_name, symbol.rsplit(".", 1)[-1]
    return class_name, activation_of(operation)


def takes_training(operation: Any) -> bool:
    """Whether a call of it may say `training`."""
    if hasattr(operation, "_call_has_training_arg"):
        return bool(operation._call_has_training_arg)
    return bool(getattr(operation, "_expects_training_arg", False))


def plain_weights(operation: Any) -> list[str]:
    """Names of a layer's weights."""
    return [plain_name(weight) for weight in getattr(operation, "weights", None) or []]


class Watch:
    """Watches the calls of a model's innermost layers while the model runs; every call has all probes in its rows."""

    def __init__(self, model: Any, probes: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self._probes = probes
        self._calls: Counter[str] = Counter()
        parts = [layer for layer in layers_below(model) if layer is not model]
        self._layers = [layer for layer in parts if len(layers_below(layer)) == 1]

    def __enter__(self) -> Watch:
        for layer in self._layers:
            object.__setattr__(layer, "call", self._watched(layer, layer.call))
        return self

    def __exit__(self, *exc: object) -> None:
        for layer in self._layers:
            layer.__dict__.pop("call", None)

    def _watched(self, layer: Any, call: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            answer = call(*args, **kwargs)
            self._note(layer, flat_tensors([list(args), kwargs]), flat_tensors(answer))
            return answer

        return watched

    def _note(self, layer: Any, given: list[Any], answer: list[Any]) -> None:
        numbers, fed = self._measured(layer, answer), self._measured(layer, given)
        if numbers is None:
            return
        name = str(getattr(layer, "path", None) or layer.name)
        self._calls[name] += 1
        name = name if self._calls[name] == 1 else "%s (call %d)" % (name, self._calls[name])
        row = dict(numbers, layer=name, weights=plain_weights(layer), outputs=[])
        row["class"], row["activation"] = described(layer)
        row["fed"] = fed is None or varies(fed)
        row["sources"] = [len(self.rows) - 1] if self.rows else []
        self.rows.append(row)

    def _measured(self, layer: Any, tensors: list[Any]) -> dict[str, Any] | None:
        """Over the rows of each tensor; None where none has a row for every probe."""
        spread, found = Spread(described(layer)[1]), False
        for tensor in tensors:
            if not hasattr(tensor, "numpy"):
                continue
            values = array_of(tensor)
            if values.ndim and values.shape[0] == self._probes:
                spread.add([values[place : place + 1] for place in range(self._probes)])
                found = True
        return spread.numbers() if found else None


def layer_rows(
    tensorflow: Any, model: Any, arranged: Any, call: Any, probes: Any, names: list[str], training: bool | None = None
) -> Any:
    """The rows of `Ops.layers`. `probes` holds the named tensors of each probe; the model is left as it was.

    `arranged(named)` gives what the model is called with, `call(named)` calls it, as `training` says.
    Raises Refused (usage) for a model that shows no layers.
    """
    graph = graph_of(model)
    # A copy of all weights would be the largest part of what this takes; a graph of layers moves none of them.
    state = Snapshot(model, trained=graph is None)
    try:
        if graph is not None:
            walk = Walk(tensorflow)
            walk.model(graph, [matched(graph, arranged(named)) for named in probes], names, training)
            return walk.rows
        eager = tensorflow.config.functions_run_eagerly()
        tensorflow.config.run_functions_eagerly(True)
        try:
            with Watch(model, len(probes)) as watch:
                call({name: tensorflow.concat([named[name] for named in probes], 0) for name in probes[0]})
        finally:
            tensorflow.config.run_functions_eagerly(eager)
        if not watch.rows:
            raise Refused("usage", "can't look inside: " + type(model).__name__ + " calls no layers of its own")
        return watch.rows
    finally:
        state.restore()
