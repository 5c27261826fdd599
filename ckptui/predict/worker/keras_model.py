"""A Keras model: its inputs and outputs, its first layers, its weights by name, calls that leave it as it was."""

from __future__ import annotations

from typing import Any

from .binding import Weights
from .ends import Inputs, dims, dtype_name, named_outputs, output_names
from .errors import Refused, brief
from .feeding import fed, tensor
from .first_layers import first_layers
from .layer_walk import layer_rows
from .snapshot import Snapshot, state_of

__all__ = ["KerasModel", "dims", "dtype_name"]


class KerasModel:
    """A model of Keras 2 or 3, loaded without its compilation: Sequential, Functional or subclassed."""

    def __init__(self, tensorflow: Any, model: Any, loader: str) -> None:
        if not callable(model) or not hasattr(model, "weights"):
            raise Refused("load", "what came back is no model but a " + type(model).__name__)
        self.tensorflow = tensorflow
        self.model = model
        self.loader = loader.strip()
        self.others: list[str] = []
        self._weights: Weights | None = None
        self._inputs = Inputs(model)

    def describe(self) -> dict[str, Any]:
        """What the client needs to know before it can call the model."""
        return {
            "loader": self.loader,
            "others": self.others,
            "signature": "",
            "signatures": [],
            "inputs": self._inputs.ends,
            "outputs": output_names(self.model),
            "first": first_layers(self.model),
            "training": True,
            "layers": True,
            "parsing": {},
            "encoded": {},
            "proposed": {},
            "weights": len(self.model.weights),
        }

    def call(self, feeds: Any, training: bool | None = None) -> list[Any]:
        """One call with `[(input or None, values), ...]`: `[(output, values), ...]`, every output there is.

        `training` mostly stays unsaid: in Keras 3, False silences a dropout built with `training=True`, which every
        plain call of the model has live. Where it is said, the model is left as it was, to the last bit: statistics,
        states and generators of random numbers are put back.
        """
        named = self._named(feeds)
        if training is None:
            return named_outputs(self.model, self._called(named))
        state = Snapshot(self.model)
        try:
            return named_outputs(self.model, self._trained(named, training))
        finally:
            state.restore()

    def layers(self, feeds: Any, training: bool | None = None) -> list[dict[str, Any]]:
        """A row of numbers for each call of each layer, over the rows of `feeds`, each a probe of its own.

        `training` as in `call`; the model is left as it was in any case.

        Raises Refused (usage) where nothing can be seen inside, or the feeds hold no two probes.
        """
        named = self._named(feeds)
        extents = {int(value.shape[0]) if value.shape.rank else 0 for value in named.values()}
        count = extents.pop() if len(extents) == 1 else 0
        if count < 2:
            raise Refused("usage", "can't look inside: the inputs hold no batch of several probes")
        probes = [{name: value[place : place + 1] for name, value in named.items()} for place in range(count)]
        names = output_names(self.model)
        said = {} if training is None else {"training": training}

        def called(given: Any) -> Any:
            return self._called(given, **said)

        arranged = self._inputs.arranged
        return list(layer_rows(self.tensorflow, self.model, arranged, called, probes, names, training))

    def _named(self, feeds: Any) -> dict[str, Any]:
        """The tensor of each input; values of other kinds than floats stay as they are where the dtype is a guess."""
        ends = self._inputs.ends
        found = {}
        for end, value in fed(feeds, ends, self._inputs.optional):
            guessed = end["name"] in self._inputs.guessed and value.dtype.kind in "iu"
            found[end["name"]] = tensor(self.tensorflow, value, value.dtype.name if guessed else end["dtype"])
        return found

    def _called(self, named: Any, **options: Any) -> Any:
        x = self._inputs.arranged(named)
        return self.model(**x, **options) if self._inputs.keywords else self.model(x, **options)

    def _trained(self, named: Any, training: bool) -> Any:
        """A call that says `training`.

        Layers of Keras 2 draw from kernels that TensorFlow caches by seed and whose state no one can read: inside a
        function of its own the call has its own kernels, and those of plain calls stay where they are.
        """
        if type(self.model).__module__.startswith("keras.src"):
            return self._called(named, training=training)
        return self.tensorflow.function(lambda given: self._called(given, training=training), autograph=False)(named)

    def load_weights(self, path: str) -> None:
        """Fill the model from a weights file; Refused with Keras' own words where it does not fit."""
        try:
            self.model.load_weights(path)
        except Exception as error:  # Keras raises anything at all here; its words are the answer
            raise Refused("load", "the weights do not fit the architecture: " + brief(error)) from error

    def state(self) -> Snapshot:
        """What one call may hand on to the next, as it is now."""
        return state_of(self.model)

    def weights(self) -> Weights:
        """Its weights by name."""
        if self._weights is None:
            self._weights = Weights(self.model.weights)
        return self._weights

    def weight_names(self) -> list[str]:
        """Path of every weight: `conv1/kernel`."""
        return self.weights().names()

    def bind(self, name: str, value: Any) -> str:
        """Give the weight called `name` a value; its own name. Refused where none, or none of that shape, is."""
        return self.weights().assign(name, value)
