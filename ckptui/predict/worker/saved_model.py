"""A SavedModel's signature, by TensorFlow 2's loader or in a TensorFlow 1 session."""

from __future__ import annotations

import os
from typing import Any

from .binding import Weights
from .errors import Refused
from .feeding import as_array, filled, idle_of, listed, tensor
from .graph_facts import facts_of
from .graph_restore import VARIABLES, Restorer
from .graph_values import MOST_VALUES
from .keras_model import dims, dtype_name
from .snapshot import Snapshot, counts_draws

DEFAULT = "serving_default"
INITIALIZERS = ("__saved_model_init_op", "__saved_model_train_op")
"""Signatures that only name an op to run: no one can call them with an image."""
LARGEST_GRAPH = 256 << 20
"""Bytes of a saved_model.pb that is read a second time to follow its inputs."""


def choose(signatures: list[str], wanted: str | None) -> str:
    """The signature to call: the one asked for, else serving_default, else the only one."""
    usable = [name for name in signatures if name not in INITIALIZERS]
    if wanted is not None:
        if wanted in usable:
            return wanted
        raise Refused("usage", "no signature is called " + wanted, "There are: " + listed(usable))
    if DEFAULT in usable:
        return DEFAULT
    if len(usable) == 1:
        return usable[0]
    if not usable:
        raise Refused("load", "it has no signature to call")
    raise Refused("usage", "it has several signatures: " + listed(usable), "Name one with --signature")


class SignatureModel:
    """A signature of a SavedModel loaded by `tf.saved_model.load`."""

    loader = "tf.saved_model.load"

    def __init__(self, tensorflow: Any, path: str, signature: str | None) -> None:
        self.tensorflow = tensorflow
        self.others: list[str] = []
        self._keep = self._opened(path)
        signatures = getattr(self._keep, "signatures", None) or {}
        self.names = sorted(str(name) for name in signatures)
        self.signature = choose(self.names, signature)
        self._function = signatures[self.signature]
        specs = self._function.structured_input_signature[1]
        self._ends = [
            {"name": str(name), "dtype": dtype_name(spec.dtype), "shape": dims(spec.shape)}
            for name, spec in sorted(specs.items())
        ]
        self._weights: Weights | None = None
        self._walked = walked(path, self.signature, self._variable)
        self._idle = idle_of(self._ends, self._walked["connected"])

    def _variable(self, name: str, slot: Any) -> Any:
        """A variable the signature captures, from the end of its captures or by name: its values, and if it trains."""
        variables = list(self._function.variables)
        captured = list(self._function.captured_inputs)
        if slot is not None and -len(captured) <= slot < 0:
            found = [v for v in variables if getattr(v, "handle", None) is captured[slot]]
        else:
            found = [v for v in variables if str(v.name).split(":")[0] == name]
        return read_of(found[0].numpy, found[0]) if len(found) == 1 else None

    def _opened(self, path: str) -> Any:
        """The root of its objects."""
        return self.tensorflow.saved_model.load(path)

    def describe(self) -> dict[str, Any]:
        """What the client needs to know before it can call the signature."""
        return {
            "loader": self.loader,
            "others": self.others,
            "signature": self.signature,
            "signatures": self.names,
            "inputs": self._ends,
            "outputs": sorted(str(name) for name in self._function.structured_outputs or {}),
            "first": [],
            "training": False,
            "layers": False,
            "weights": len(self._function.variables),
            "idle": self._idle,
            **self._walked,
        }

    def call(self, feeds: Any, training: bool | None = None) -> list[Any]:
        """One call of the signature with `[(input or None, values), ...]`: `[(output, values), ...]`."""
        given = {
            str(end["name"]): tensor(self.tensorflow, value, end["dtype"])
            for end, value in filled(feeds, self._ends, self._idle)
        }
        # by name: TensorFlow orders them by hashes, which every process has others of
        return sorted(((str(key), value) for key, value in self._function(**given).items()), key=lambda end: end[0])

    def state(self) -> Snapshot:
        """What one call may hand on to the next, as it is now."""
        return Snapshot(None, variables=[v for v in self._function.variables if not counts_draws(v)])

    def weights(self) -> Weights:
        """The variables the signature reads, by name."""
        if self._weights is None:
            numeric = [v for v in self._function.variables if v.dtype not in (self.tensorflow.string,)]
            self._weights = Weights(numeric)
        return self._weights

    def weight_names(self) -> list[str]:
        """Name of every variable: `conv1/kernel`."""
        return self.weights().names()

    def bind(self, name: str, value: Any) -> str:
        """Give the variable called `name` a value; its own name. Refused where none, or none of that shape, is."""
        return self.weights().assign(name, value)


class GraphModel:
    """A signature of a SavedModel in a session, the TensorFlow 1 way."""

    loader = "tf.compat.v1.saved_model.load"

    def __init__(self, tensorflow: Any, path: str, signature: str | None) -> None:
        v1 = tensorflow.compat.v1
        self.tensorflow = tensorflow
        self.others: list[str] = []
        tags = serving_tags(path)
        self._graph = v1.Graph()
        with self._graph.as_default():
            self._session = v1.Session(graph=self._graph)
            meta = self._opened(path, tags)
        self._signatures = meta.signature_def
        self.names = sorted(str(name) for name in self._signatures)
        self.signature = choose(self.names, signature)
        definition = self._signatures[self.signature]
        self._inputs = {str(name): self._element(info) for name, info in sorted(definition.inputs.items())}
        self._outputs = {str(name): self._element(info) for name, info in sorted(definition.outputs.items())}
        self._ends = [described(name, element) for name, element in self._inputs.items()]
        self._walked = walked(path, self.signature, self._variable)
        dense = [end for end in self._ends if not hasattr(self._inputs[end["name"]], "indices")]
        self._idle = idle_of(dense, self._walked["connected"])
        self._restorer: Restorer | None = None
        self._saver = str(meta.saver_def.restore_op_name)

    def _variable(self, name: str, slot: Any) -> Any:
        """A variable of the graph by name: its values, and if it trains."""
        with self._graph.as_default():
            found = [v for v in self.tensorflow.compat.v1.global_variables() if str(v.name).split(":")[0] == name]
            if len(found) == 1:
                return read_of(lambda: self._session.run(found[0].value()), found[0])
        # an export of TensorFlow 2 lists none: its values are in functions' hands
        return None if found or name not in self._named() else (None, True)

    def _named(self) -> set[str]:
        """Names of the operations of its graph."""
        return {str(op.name) for op in self._graph.get_operations() if op.type in VARIABLES}

    def _opened(self, path: str, tags: list[str]) -> Any:
        """The meta graph, which is in the session from here on."""
        return self.tensorflow.compat.v1.saved_model.load(self._session, tags, path)

    def _element(self, info: Any) -> Any:
        """The tensor that a signature names, or its sparse parts as one."""
        if not info.HasField("coo_sparse"):
            return self._graph.get_tensor_by_name(info.name)
        parts = info.coo_sparse
        names = (parts.indices_tensor_name, parts.values_tensor_name, parts.dense_shape_tensor_name)
        return self.tensorflow.SparseTensor(*[self._graph.get_tensor_by_name(name) for name in names])

    def describe(self) -> dict[str, Any]:
        """What the client needs to know before it can call the signature."""
        return {
            "loader": self.loader,
            "others": self.others,
            "signature": self.signature,
            "signatures": self.names,
            "inputs": self._ends,
            "outputs": [name for name, _ in self._fetched()],
            "first": [],
            "training": False,
            "layers": False,
            "weights": len(self.weight_names()),
            "idle": self._idle,
            **self._walked,
        }

    def _fetched(self) -> list[Any]:
        """Name and tensor of every output, a sparse one as its three parts."""
        found = []
        for name, element in self._outputs.items():
            if hasattr(element, "indices"):
                parts = ("indices", "values", "dense_shape")
                found += [(name + "/" + part, getattr(element, part)) for part in parts]
            else:
                found.append((name, element))
        return found

    def call(self, feeds: Any, training: bool | None = None) -> list[Any]:
        """One run of the session with `[(input or None, values), ...]`: `[(output, values), ...]`."""
        given = {}
        for end, value in filled(feeds, self._ends, self._idle):
            element = self._inputs[end["name"]]
            if hasattr(element, "indices"):
                raise Refused("usage", "the input " + end["name"] + " is sparse: it can't be fed from a file")
            given[element] = as_array(self.tensorflow, value, element.dtype)
        fetched = self._fetched()
        answers = self._session.run([element for _, element in fetched], given)
        return [(name, answer) for (name, _), answer in zip(fetched, answers)]

    def weights(self) -> Restorer:
        """The variables its outputs need, by the names they are saved under."""
        if self._restorer is None:
            tensors = [element for _, element in self._fetched()]
            self._restorer = Restorer(self.tensorflow, self._graph, self._session, self._saver)
            self._restorer.need(tensors, ())
        return self._restorer

    def weight_names(self) -> list[str]:
        """Saved name of every variable its outputs need."""
        return self.weights().names()

    def bind(self, name: str, value: Any) -> str:
        """Give the variable saved as `name` a value; the name. Refused where none, or none of that shape, is."""
        return self.weights().assign(name, value)


def described(name: str, element: Any) -> dict[str, Any]:
    """An input as the client knows it."""
    return {"name": name, "dtype": dtype_name(element.dtype.base_dtype), "shape": dims(element.shape)}


def serving_tags(path: str) -> list[str]:
    """Tags of the meta graph to load: the one tagged `serve` with the fewest others, else the first."""
    graphs = [list(meta.meta_info_def.tags) for meta in parsed(path).meta_graphs]
    if not graphs:
        raise Refused("load", "it holds no graph")
    serving = [tags for tags in graphs if "serve" in tags]
    return sorted(serving, key=len)[0] if serving else graphs[0]


def parsed(path: str) -> Any:
    """The SavedModel proto, from `.pb` or `.pbtxt`."""
    from tensorflow.python.saved_model import loader_impl

    return loader_impl.parse_saved_model(path)


def read_of(read: Any, variable: Any) -> Any:
    """What `graph_values.Variable` promises, for a variable and what reads it."""
    if not variable.shape.is_fully_defined() or variable.shape.num_elements() > MOST_VALUES:
        return None
    try:
        values = read()
    except Exception:  # a variable of a folder that is damaged may have no value
        values = None
    return (None if values is None or values.dtype.kind not in "iuf" else values.astype("float64")), variable.trainable


def walked(path: str, signature: str, variable: Any) -> dict[str, Any]:
    """What the signature's inputs reach in the saved graph; nothing where that is too large to be followed."""
    facts: dict[str, Any] = {"connected": {}, "parsing": {}, "encoded": {}}
    file = os.path.join(path, "saved_model.pb")
    if os.path.exists(file) and os.path.getsize(file) > LARGEST_GRAPH:
        return facts
    for meta in sorted(
        parsed(path).meta_graphs, key=lambda m: ("serve" not in m.meta_info_def.tags, len(m.meta_info_def.tags))
    ):
        if signature in meta.signature_def:
            definition = meta.signature_def[signature]
            inputs = {str(name): str(info.name) for name, info in definition.inputs.items() if info.name}
            outputs = {str(name): str(info.name) for name, info in definition.outputs.items() if info.name}
            texts = [str(name) for name, info in definition.inputs.items() if info.dtype in (0, 7)]
            if len(outputs) < len(definition.outputs):
                # an output in parts has no name of its own
                outputs.update(sparse_parts(definition.outputs))
            return facts_of(meta.graph_def, inputs, outputs, texts, variable)
    return facts


def sparse_parts(outputs: Any) -> dict[str, str]:
    """The values of each output that is a sparse tensor."""
    return {str(name): str(i.coo_sparse.values_tensor_name) for name, i in outputs.items() if i.HasField("coo_sparse")}
