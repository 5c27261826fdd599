"""A SavedModel's signature, by TensorFlow 2's loader or in a TensorFlow 1 session."""

from __future__ import annotations

from typing import Any

from .errors import Refused
from .keras_model import dims, dtype_name

DEFAULT = "serving_default"
INITIALIZERS = ("__saved_model_init_op", "__saved_model_train_op")
"""Signatures that only name an op to run: no one can call them with an image."""


def choose(signatures: list[str], wanted: str | None) -> str:
    """The signature to call: the one asked for, else serving_default, else the only one."""
    usable = [name for name in signatures if name not in INITIALIZERS]
    if wanted is not None:
        if wanted in usable:
            return wanted
        there = ", ".join(usable) or "none"
        raise Refused("usage", "no signature is called " + wanted, "There are: " + there)
    if DEFAULT in usable:
        return DEFAULT
    if len(usable) == 1:
        return usable[0]
    if not usable:
        raise Refused("load", "it has no signature to call")
    raise Refused("usage", "it has several signatures: " + ", ".join(usable), "Name one with --signature")


class SignatureModel:
    """A signature of a SavedModel loaded by `tf.saved_model.load`."""

    loader = "tf.saved_model.load"

    def __init__(self, tensorflow: Any, path: str, signature: str | None) -> None:
        self.tensorflow = tensorflow
        self.others: list[str] = []
        self._keep = tensorflow.saved_model.load(path)
        signatures = getattr(self._keep, "signatures", None) or {}
        self.names = sorted(str(name) for name in signatures)
        self.signature = choose(self.names, signature)
        self._function = signatures[self.signature]

    def describe(self) -> dict[str, Any]:
        """What the client needs to know before it can call the signature."""
        specs = self._function.structured_input_signature[1]
        ends = [
            {"name": str(name), "dtype": dtype_name(spec.dtype), "shape": dims(spec.shape)}
            for name, spec in specs.items()
        ]
        return {
            "loader": self.loader,
            "others": self.others,
            "signature": self.signature,
            "signatures": self.names,
            "inputs": ends,
            "outputs": [str(name) for name in self._function.structured_outputs],
            "first": [],
            "weights": len(self._function.variables),
        }

    def call(self, feeds: Any, training: bool | None = None) -> list[Any]:
        """One call of the signature with `[(input or None, values), ...]`: `[(output, values), ...]`."""
        name, spec = next(iter(self._function.structured_input_signature[1].items()))
        x = self.tensorflow.cast(self.tensorflow.constant(feeds[0][1]), spec.dtype)
        return [(str(key), value) for key, value in self._function(**{name: x}).items()]

    def weight_names(self) -> list[str]:
        """None that a value could be pushed into by name."""
        return []

    def bind(self, name: str, value: Any) -> str:
        """Refused: an export is complete."""
        raise Refused("load", "an exported model takes no values")


class GraphModel:
    """A signature of a SavedModel in a session, the TensorFlow 1 way."""

    loader = "tf.compat.v1.saved_model.load"

    def __init__(self, tensorflow: Any, path: str, signature: str | None) -> None:
        v1 = tensorflow.compat.v1
        self.others: list[str] = []
        tags = serving_tags(path)
        self._graph = v1.Graph()
        with self._graph.as_default():
            self._session = v1.Session(graph=self._graph)
            meta = v1.saved_model.load(self._session, tags, path)
        self._signatures = meta.signature_def
        self.names = sorted(str(name) for name in self._signatures)
        self.signature = choose(self.names, signature)
        self._definition = self._signatures[self.signature]
        self._dtype = tensorflow.as_dtype

    def describe(self) -> dict[str, Any]:
        """What the client needs to know before it can call the signature."""
        ends = []
        for name, info in sorted(self._definition.inputs.items()):
            unknown = info.tensor_shape.unknown_rank
            shape = None if unknown else [None if d.size < 0 else int(d.size) for d in info.tensor_shape.dim]
            ends.append({"name": str(name), "dtype": self._dtype(info.dtype).name, "shape": shape})
        return {
            "loader": self.loader,
            "others": self.others,
            "signature": self.signature,
            "signatures": self.names,
            "inputs": ends,
            "outputs": sorted(str(name) for name in self._definition.outputs),
            "first": [],
            "weights": 0,
        }

    def call(self, feeds: Any, training: bool | None = None) -> list[Any]:
        """One run of the session with `[(input or None, values), ...]`: `[(output, values), ...]`."""
        info = next(iter(self._definition.inputs.values()))
        x = feeds[0][1].astype(self._dtype(info.dtype).as_numpy_dtype)
        fetch = {name: self._definition.outputs[name].name for name in sorted(self._definition.outputs)}
        return sorted(self._session.run(fetch, {info.name: x}).items())

    def weight_names(self) -> list[str]:
        """None that a value could be pushed into by name."""
        return []

    def bind(self, name: str, value: Any) -> str:
        """Refused: an export is complete."""
        raise Refused("load", "an exported model takes no values")


def serving_tags(path: str) -> list[str]:
    """Tags of the meta graph to load: the one tagged `serve`, else the first."""
    from tensorflow.python.saved_model import loader_impl

    graphs = [list(meta.meta_info_def.tags) for meta in loader_impl.parse_saved_model(path).meta_graphs]
    if not graphs:
        raise Refused("load", "it holds no graph")
    serving = [tags for tags in graphs if "serve" in tags]
    return sorted(serving or graphs, key=len)[0]
