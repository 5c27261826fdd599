"""Meta graphs as facts: tags, writer, signatures with dtypes and shapes, counts, from what a walk has gathered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ckptui.core.dtypes import dtype_name
from ckptui.core.model import Endpoint, Operation, Signature
from ckptui.readers.graph_facts import VARIABLE_OPS, Declared, Message, OpCount, shape_of
from ckptui.readers.graph_reach import Reached, reached
from ckptui.readers.graph_steps import served
from ckptui.readers.graph_wire import walk_bytes

INTERNAL = frozenset({"__saved_model_init_op", "__saved_model_train_op"})
"""Signatures TensorFlow writes for its own loader; their output is a NoOp."""


RESTORE_FUNCTION = "__inference__traced_restore"
"""What TensorFlow 2 calls the function that reads an export's variables, a number aside."""


@dataclass(frozen=True, slots=True)
class MetaGraph:
    """One graph of a SavedModel, by its tags."""

    tags: tuple[str, ...] = ()
    tensorflow: str = ""
    git: str = ""
    producer: int | None = None
    """`versions.producer` of the graph: it dates the TensorFlow build."""
    signatures: tuple[Signature, ...] = ()
    """All of them, TensorFlow's internal ones too."""
    nodes: int = 0
    """In the top-level graph."""
    functions: int = 0
    function_nodes: int = 0
    ops: Counter[str] = field(default_factory=Counter)
    """Op name to how often it occurs, top-level graph and functions together."""
    watched: dict[str, OpCount] = field(default_factory=dict)
    reached: dict[str, Reached] = field(default_factory=dict)
    """Ops that save or restore and run when a signature is called; TensorFlow's internal ones do not count."""
    assets: tuple[str, ...] = ()
    """File names below `assets/`."""
    collections: tuple[str, ...] = ()
    has_saver: bool = False
    objects: int = 0
    """Nodes of the object graph; 0 in exports of TF1 and Estimators."""
    variables: int = 0
    """Variables the object graph knows."""
    restored: tuple[str, ...] = ()
    """Checkpoint keys that loading this graph reads, from the constants of its restore op."""
    declared: dict[str, frozenset[Declared]] = field(default_factory=dict)
    """Name of a variable to what the graph makes of it; names may stand for several."""
    operations: tuple[Operation, ...] = ()
    """What the serving signature runs, as far as layers' configurations show in it."""
    keras_metadata: str = ""
    """The JSON Keras 2 before 2.5 kept in the object graph's root."""

    @property
    def needs_variables(self) -> bool:
        """Whether loading this graph restores anything."""
        return bool(self.variables or self.has_saver or any(self.ops[op] for op in VARIABLE_OPS))


def meta_graph(message: Message) -> MetaGraph:
    """The facts of one gathered MetaGraphDef."""
    info = _message(message, "meta_info_def")
    graph = _message(message, "graph_def")
    library = _message(graph, "library")
    objects = _message(message, "object_graph_def")
    root = _message(_message(objects, "root"), "user_object")
    tags = tuple(info.get("tags", ()))
    ops: Counter[str] = Counter(graph.get("ops", {}))
    ops.update(library.get("ops", {}))
    watched = dict(graph.get("watched", {}))
    for op, count in library.get("watched", {}).items():
        top = watched.get(op, OpCount())
        places, texts = [*top.places, *count.places], [*top.texts, *count.texts]
        watched[op] = OpCount(top.total + count.total, places, texts)
    signatures = tuple(_signature(entry, tags) for entry in _by_key(message.get("signature_def", ())))
    callable_ones = [one for one in signatures if one.name not in INTERNAL]
    return MetaGraph(
        tags=tags,
        tensorflow=info.get("tensorflow_version", ""),
        git=info.get("tensorflow_git_version", ""),
        producer=_message(graph, "versions").get("producer"),
        signatures=signatures,
        nodes=graph.get("nodes", 0),
        functions=library.get("functions", 0),
        function_nodes=library.get("nodes", 0),
        ops=ops,
        watched=watched,
        reached=reached(graph, library, {one.name: _ends(one) for one in callable_ones}),
        assets=tuple(_assets(message)),
        collections=tuple(sorted({entry.get("key", "") for entry in message.get("collection_def", ())})),
        has_saver=bool(_message(message, "saver_def").get("filename_tensor_name")),
        objects=objects.get("objects", 0),
        variables=objects.get("variables", 0),
        restored=_restored(message, graph, library, bool(objects.get("objects"))),
        declared={name: frozenset(kinds) for name, kinds in graph.get("declared", {}).items()},
        operations=served(graph, library, callable_ones),
        keras_metadata=root.get("metadata", ""),
    )


def _ends(signature: Signature) -> list[str]:
    """The tensors that a signature gives."""
    return [tensor for end in signature.outputs for tensor in (end.tensor, *end.components)]


def _assets(message: Message) -> list[str]:
    """Asset file names: from the meta graph, in TF1 exports from a collection of packed messages."""
    names = [entry.get("filename", "") for entry in message.get("asset_file_def", ())]
    for entry in message.get("collection_def", ()):
        for packed in _message(_message(entry, "value"), "any_list").get("value", ()):
            names.append(walk_bytes(packed.get("value", b""), "AssetFileDef").get("filename", ""))
    return sorted({name for name in names if name})


def _restored(message: Message, graph: Message, library: Message, objects: bool) -> tuple[str, ...]:
    """The keys that the graph's own saver reads: TF2 exports keep it in a function, others in one name scope."""
    if objects:
        found = [keys for name, _, keys in library.get("restored", ()) if name.startswith(RESTORE_FUNCTION)]
    else:
        scope = _message(message, "saver_def").get("restore_op_name", "").rpartition("/")[0]
        start = f"{scope}/RestoreV2"
        found = [keys for _, name, keys in graph.get("restored", ()) if scope and name.startswith(start)]
    return tuple(dict.fromkeys(key for keys in found for key in keys))


def _message(parent: Message, name: str) -> Message:
    found = parent.get(name)
    return found if isinstance(found, dict) else {}


def _by_key(entries: Any) -> list[Message]:
    """The entries of a proto map in the order of their keys; of a repeated key the last one counts."""
    last = {entry.get("key", ""): entry for entry in entries}
    return [last[key] for key in sorted(last)]


def _signature(entry: Message, tags: tuple[str, ...]) -> Signature:
    value = _message(entry, "value")
    return Signature(
        name=entry.get("key", ""),
        method=value.get("method_name", ""),
        tags=tags,
        inputs=tuple(_endpoint(e) for e in _by_key(value.get("inputs", ()))),
        outputs=tuple(_endpoint(e) for e in _by_key(value.get("outputs", ()))),
    )


def _endpoint(entry: Message) -> Endpoint:
    info = _message(entry, "value")
    number = info.get("dtype", 0)
    dtype = f"{dtype_name(number - 100)}_ref" if 100 < number < 200 else dtype_name(number)
    name, shape = entry.get("key", ""), shape_of(_message(info, "tensor_shape"))
    if "coo_sparse" in info:
        sparse = _message(info, "coo_sparse")
        parts = tuple(
            sparse.get(part, "") for part in ("values_tensor_name", "indices_tensor_name", "dense_shape_tensor_name")
        )
        return Endpoint(name, parts[0], dtype, shape, "sparse", parts)
    if "composite_tensor" in info:
        components = _message(info, "composite_tensor").get("components", ())
        parts = tuple(component.get("name", "") for component in components)
        return Endpoint(name, parts[0] if parts else "", dtype, shape, "composite", parts)
    return Endpoint(name, info.get("name", ""), dtype, shape)
