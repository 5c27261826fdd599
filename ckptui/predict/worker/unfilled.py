"""SavedModels whose variables TensorFlow can't read, loaded without them: values come one by one from outside.

Checkpoints of the first format, and files that are damaged in part. What gets no value is zero.
"""

from __future__ import annotations

import re
from typing import Any

from .errors import Refused
from .saved_model import GraphModel, SignatureModel, parsed

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
"""How the key of a variable's value ends, after the names of the objects that lead to it."""


class UnfilledSignature(SignatureModel):
    """A signature of a SavedModel of TensorFlow 2, its variables known by the keys they are stored under."""

    loader = "tf.saved_model.load, variables read by ckptui"
    unfilled = True

    def _opened(self, path: str) -> Any:
        if not has_objects(path):
            # a graph of TensorFlow 1 alone: the session's turn
            raise Refused("load", "")
        saved_model = self.tensorflow.saved_model
        return saved_model.load(path, options=saved_model.LoadOptions(experimental_skip_checkpoint=True))

    def bind(self, name: str, value: Any) -> str:
        """Give the variable stored under the key `name` a value; its own name, the key where it is not used."""
        own = self.weights().name_of(at_key(self._keep, name))
        return name if own is None else self.weights().assign(own, value)

    def zero(self, names: Any) -> None:
        """Zeros for what got no value."""
        for name, variable in self.weights().items():
            if name in names and variable.shape.is_fully_defined():
                variable.assign(self.tensorflow.zeros(variable.shape, variable.dtype))


class UnfilledGraph(GraphModel):
    """A signature of a SavedModel in a session, its variables known by the names they are saved under."""

    loader = "tf.compat.v1 graph of the SavedModel, variables read by ckptui"
    unfilled = True

    def _opened(self, path: str, tags: list[str]) -> Any:
        if has_objects(path):
            # its variables are restored inside functions, by keys that no operation of the graph tells
            raise Refused("load", "")
        from tensorflow.python.saved_model import loader_impl

        loader: Any = loader_impl.SavedModelLoader(path)
        loader.load_graph(self._graph, tags)
        self._start: Any = lambda: loader.run_init_ops(self._session, tags)
        return loader.get_meta_graph_def_from_tags(tags)

    def bind(self, name: str, value: Any) -> str:
        """Give the variable saved as `name` a value; the name. What the outputs do not need is left."""
        return self.weights().assign(name, value) if name in self.weights().names() else name

    def zero(self, names: Any) -> None:
        """Zeros for what got no value; then what the graph runs when it is loaded: tables are read, assets found."""
        restorer: Any = self.weights()
        restorer.zero()
        with self._graph.as_default():
            self._start()


def has_objects(path: str) -> bool:
    """It was saved by TensorFlow 2, with the objects that its variables belong to."""
    return any(len(meta.object_graph_def.nodes) for meta in parsed(path).meta_graphs)


def at_key(root: Any, key: str) -> Any:
    """The object that a key leads to from the root, name by name; None where there is none.

    In TensorFlow's checkpoints a `/` within a name is written `.S`, and a `.` is written `..`.
    """
    if not key.endswith(VALUE):
        return None
    found = root
    for part in key[: -len(VALUE)].split("/"):
        found = children_of(found).get(re.sub(r"\.([.S])", lambda dot: "/" if dot[1] == "S" else ".", part))
        if found is None:
            return None
    return found


def children_of(thing: Any) -> Any:
    """The objects below one, by name; older TensorFlow has another word for them."""
    if hasattr(thing, "_trackable_children"):
        return thing._trackable_children()
    return {child.name: child.ref for child in getattr(thing, "_checkpoint_dependencies", ())}
