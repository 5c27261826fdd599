"""A Keras model: its input, its first layers, its weights by name, one call at inference."""

from __future__ import annotations

from typing import Any

from .binding import Weights
from .errors import Refused, brief
from .feeding import fed, tensor

FIRST_LAYERS = 8


class KerasModel:
    """A model of Keras 2 or 3, loaded without its compilation."""

    def __init__(self, tensorflow: Any, model: Any, loader: str) -> None:
        if not callable(model) or not hasattr(model, "weights"):
            raise Refused("load", "what came back is no model but a " + type(model).__name__)
        self.tensorflow = tensorflow
        self.model = model
        self.loader = loader.strip()
        self.others: list[str] = []
        self._weights: Weights | None = None

    def describe(self) -> dict[str, Any]:
        """What the client needs to know before it can call the model."""
        return {
            "loader": self.loader,
            "others": self.others,
            "signature": "",
            "signatures": [],
            "inputs": self._ends("inputs"),
            "outputs": [str(name) for name in getattr(self.model, "output_names", None) or []],
            "first": first_layers(self.model),
            "training": True,
            "weights": len(self.model.weights),
        }

    def _ends(self, which: str) -> list[dict[str, Any]]:
        try:
            ends = list(getattr(self.model, which) or [])
        except (AttributeError, ValueError, TypeError):
            ends = []
        names = list(getattr(self.model, "input_names", None) or [])
        found = []
        for place, end in enumerate(ends):
            name = names[place] if place < len(names) else str(getattr(end, "name", "input"))
            found.append({"name": str(name), "dtype": dtype_name(end.dtype), "shape": dims(end.shape)})
        return found or [{"name": "input", "dtype": "float32", "shape": None}]

    def call(self, feeds: Any, training: bool | None = None) -> list[Any]:
        """One call with `[(input or None, values), ...]`: `[(output, values), ...]`.

        `training` mostly stays unsaid: in Keras 3, False silences a dropout built with `training=True`, which every
        plain call of the model has live.
        """
        ends = self._ends("inputs")
        values = {end["name"]: tensor(self.tensorflow, value, end["dtype"]) for end, value in fed(feeds, ends)}
        x = self._structured([values[end["name"]] for end in ends])
        answer = self.model(x) if training is None else self.model(x, training=training)
        if isinstance(answer, dict):
            return [(str(key), value) for key, value in answer.items()]
        several = list(answer) if isinstance(answer, (list, tuple)) else [answer]
        names = [str(name) for name in getattr(self.model, "output_names", None) or []]
        names += ["output_%d" % place for place in range(len(names), len(several))]
        return [(names[place], value) for place, value in enumerate(several)]

    def load_weights(self, path: str) -> None:
        """Fill the model from a weights file; Refused with Keras' own words where it does not fit."""
        try:
            self.model.load_weights(path)
        except Exception as error:  # Keras raises anything at all here; its words are the answer
            raise Refused("load", "the weights do not fit the architecture: " + brief(error)) from error

    def _structured(self, values: list[Any]) -> Any:
        """The inputs as the model was built to take them: one alone, by name, or in a list."""
        struct = getattr(self.model, "_inputs_struct", None)
        if struct is None:
            struct = getattr(self.model, "_nested_inputs", None)
        if struct is not None and not hasattr(struct, "dtype"):
            try:
                return self.tensorflow.nest.pack_sequence_as(struct, values)
            except (TypeError, ValueError):
                pass
        return values[0] if len(values) == 1 else values

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


def dtype_name(dtype: Any) -> str:
    """`float32` from a string, a DType or a numpy dtype."""
    return str(getattr(dtype, "name", dtype))


def dims(shape: Any) -> list[int | None] | None:
    """A shape as a list with None for unknown extents; None for an unknown rank."""
    if shape is None or getattr(shape, "rank", 0) is None:
        return None
    return [None if extent is None else int(extent) for extent in list(shape)]


def first_layers(model: Any) -> list[dict[str, Any]]:
    """Class names of what an image meets first, nested models opened, with the numbers of a Rescaling."""
    found: list[dict[str, Any]] = []
    waiting = [model]
    while waiting and len(found) < FIRST_LAYERS:
        layer = waiting.pop(0)
        inner = list(getattr(layer, "operations", None) or getattr(layer, "layers", None) or [])
        if inner:
            waiting = inner + waiting
            continue
        entry: dict[str, Any] = {"class": type(layer).__name__}
        for key in ("scale", "offset"):
            value = getattr(layer, key, None)
            if entry["class"] == "Rescaling" and value is not None:
                flat = value if isinstance(value, (list, tuple)) else [value]
                entry[key] = [float(number) for number in flat]
        found.append(entry)
    return found
