"""A Keras model: its input, its first layers, its weights by name, one call at inference."""

from __future__ import annotations

from typing import Any

from .errors import Refused, brief

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
        self._by_name: dict[str, Any] = {}

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
        x: Any = self.tensorflow.cast(self.tensorflow.constant(feeds[0][1]), ends[0]["dtype"])
        struct = getattr(self.model, "_inputs_struct", None)
        if isinstance(struct, dict):
            x = {key: x for key in struct}
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

    def weight_names(self) -> list[str]:
        """Path of every weight: `conv1/kernel`."""
        if not self._by_name:
            self._by_name = {plain_name(weight): weight for weight in self.model.weights}
        return list(self._by_name)

    def bind(self, name: str, value: Any) -> str:
        """Give the weight called `name` a value; its own name. Refused where none, or none of that shape, is."""
        names = self.weight_names()
        wanted = name[:-2] if name.endswith(":0") else name
        fits = [n for n in names if n == wanted]
        fits = fits or [n for n in names if n.endswith("/" + wanted) or wanted.endswith("/" + n)]
        if len(fits) != 1:
            raise Refused("load", "the model has no weight of that name" if not fits else "ambiguous name")
        weight = self._by_name[fits[0]]
        shape = tuple(int(extent) for extent in weight.shape)
        if shape != tuple(value.shape):
            raise Refused("load", "shape %s, the model's is %s" % (list(value.shape), list(shape)))
        weight.assign(value)
        return fits[0]


def plain_name(weight: Any) -> str:
    """A weight's path without Keras 2's `:0`."""
    name = str(getattr(weight, "path", None) or weight.name)
    return name[:-2] if name.endswith(":0") else name


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
