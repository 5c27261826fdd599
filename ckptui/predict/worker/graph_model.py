"""A TensorFlow 1 checkpoint's own graph, from its `.meta`: imported, filled value by value, run in a session."""

from __future__ import annotations

import os
from typing import Any

from .errors import Refused, brief
from .feeding import as_array, fed, listed
from .graph_facts import facts_of
from .graph_propose import PLACEHOLDERS, WITH_DEFAULT, Proposal, inference_value, placeholders_before, tensor_name
from .graph_restore import Restorer, before
from .saved_model import choose, described

LARGEST = 1 << 31
"""Bytes of a `.meta`; protobuf reads no more."""


class CheckpointGraph:
    """A meta graph without values; they come by `bind`."""

    loader = "tf.compat.v1 graph of the .meta"

    def __init__(self, tensorflow: Any, path: str, wish: dict[str, Any]) -> None:
        """`wish`: `inputs`, names the user feeds; `output`, the one wanted; `signature` of those it carries."""
        self.tensorflow = tensorflow
        self.others: list[str] = []
        self._meta = read_meta(path)
        self._graph = imported(tensorflow, self._meta)
        self._session = tensorflow.compat.v1.Session(graph=self._graph)
        self.names = sorted(str(name) for name in self._meta.signature_def)
        self.signature = ""
        chosen = [self._tensor(str(name)) for name in wish.get("inputs") or ()]
        self.proposal = Proposal(self._graph, [tensor for tensor in chosen if not is_switch(tensor)])
        self._inputs, self._outputs = self._ends(chosen, wish)
        self.switches = self._switches()
        saver = str(self._meta.saver_def.restore_op_name)
        self._restorer = Restorer(tensorflow, self._graph, self._session, saver)
        self._restorer.need(list(self._outputs.values()), list(self._inputs.values()))
        self._ready = False
        self._tables = ""
        """Why a table could not be filled."""
        self._asked = str(wish.get("output") or "")
        self.unanswered: dict[str, str] = {}
        """Proposed outputs that fail by themselves, and why."""
        self._trained: set[str] | None = None

    def _ends(self, chosen: list[Any], wish: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs and outputs by name: the user's, those of a signature, the proposed."""
        inputs, outputs = {}, {}
        wanted, output = wish.get("signature"), wish.get("output")
        if wanted or (self.names and not chosen and not output):
            self.signature = choose(self.names, wanted)
            definition = self._meta.signature_def[self.signature]
            inputs = {str(name): self._tensor(info.name) for name, info in sorted(definition.inputs.items())}
            outputs = {str(name): self._tensor(info.name) for name, info in sorted(definition.outputs.items())}
        else:
            outputs = {tensor_name(tensor): tensor for tensor in self._answerable(chosen)}
        if output and output not in outputs:
            tensor = self._tensor(str(output))
            outputs = {str(output): tensor}
        if not outputs:
            hint = "Name an operation of the graph: --output NAME"
            raise Refused("usage", "the graph has nothing that looks like an answer", hint)
        if not inputs:
            inputs = {str(name): t for name, t in zip(wish.get("inputs") or (), chosen) if not is_switch(t)}
            inputs = inputs or {tensor_name(t): t for t in self._leading(outputs)}
        have = {tensor.name for tensor in inputs.values()}
        for tensor in placeholders_before(list(outputs.values()), have):
            if tensor.op.type != WITH_DEFAULT and inference_value(tensor) is None:
                inputs[tensor_name(tensor)] = tensor
        inputs.update((str(name), t) for name, t in zip(wish.get("inputs") or (), chosen) if is_switch(t))
        return inputs, outputs

    def _answerable(self, chosen: list[Any]) -> list[Any]:
        """The proposed outputs; with inputs chosen those that need nothing else (no labels), where there are any."""
        have = {tensor.name for tensor in chosen}

        def lacking(output: Any) -> bool:
            needed = placeholders_before([output], have)
            return any(t.op.type != WITH_DEFAULT and inference_value(t) is None for t in needed)

        outputs = list(self.proposal.outputs)
        return ([output for output in outputs if not lacking(output)] if chosen else []) or outputs

    def _leading(self, outputs: dict[str, Any]) -> list[Any]:
        """Those of the proposal's candidates that the outputs are computed from."""
        stops = {tensor.name for tensor in self.proposal.candidates}
        found = {tensor.name for tensor in outputs.values()}
        for op in before([tensor.op for tensor in outputs.values() if tensor.name not in stops], stops):
            found.update(tensor.name for tensor in op.inputs)
        return [tensor for tensor in self.proposal.candidates if tensor.name in found]

    def _tensor(self, name: str) -> Any:
        """The tensor a user names: `dense/add` or `dense/add:0`."""
        try:
            return self._graph.get_tensor_by_name(name if ":" in name else name + ":0")
        except (KeyError, ValueError):
            proposed = Proposal(self._graph)
            hint = "Proposed inputs: %s; outputs: %s" % (
                listed(tensor_name(tensor) for tensor in proposed.inputs),
                listed(tensor_name(tensor) for tensor in proposed.outputs),
            )
            raise Refused("usage", "nothing in the graph is called " + name, hint) from None

    def _switches(self) -> list[dict[str, Any]]:
        """What else the outputs need and the user need not feed: its value, and where that comes from."""
        found = []
        stops = {tensor.name for tensor in self._inputs.values()}
        for tensor in placeholders_before(list(self._outputs.values()), stops):
            if tensor.op.type == WITH_DEFAULT:
                value, why = default_of(self.tensorflow, tensor), "the graph's default"
            else:
                known = inference_value(tensor)
                if known is None:
                    continue
                value, why = known
            found.append({"name": tensor_name(tensor), "value": value, "why": why, "dtype": tensor.dtype.name})
        return found

    def describe(self) -> dict[str, Any]:
        """What the client needs to know before it can fill and call the graph."""
        inputs = {name: str(tensor.name) for name, tensor in self._inputs.items()}
        outputs = {name: str(tensor.name) for name, tensor in self._outputs.items()}
        texts = [name for name, tensor in self._inputs.items() if tensor.dtype.name == "string"]
        fixed = {str(switch["name"]): switch["value"] for switch in self.switches}
        return {
            "loader": self.loader,
            "others": self.others,
            "signature": self.signature,
            "signatures": self.names,
            "inputs": [described(name, tensor) for name, tensor in self._inputs.items()],
            "outputs": list(outputs),
            "first": [],
            "training": False,
            "layers": False,
            "weights": len(self._restorer.names()),
            "proposed": {
                "inputs": [tensor_name(tensor) for tensor in self.proposal.inputs],
                "outputs": [tensor_name(tensor) for tensor in self.proposal.outputs],
            },
            "switches": self.switches,
            **facts_of(self._meta.graph_def, inputs, outputs, texts, self._variable, fixed),
        }

    def _variable(self, name: str, slot: Any) -> Any:
        """A variable of the graph, which has no values yet: whether it trains. It does where the file tells of none."""
        if self._trained is None:
            self._trained = trainable(self._meta)
        return None, name in self._trained or not self._trained

    def call(self, feeds: Any, training: bool | None = None) -> list[Any]:
        """One run of the session with `[(input or None, values), ...]`: `[(output, values), ...]`."""
        self._prepare()
        tensors = dict(self._inputs)
        ends = [described(name, tensor) for name, tensor in tensors.items()]
        for switch in self.switches:
            tensors[switch["name"]] = self._tensor(switch["name"])
            ends.append(described(switch["name"], tensors[switch["name"]]))
        for name, _ in feeds:
            if name is not None and name not in tensors:
                tensors[str(name)] = self._tensor(str(name))
                ends.insert(0, described(str(name), tensors[str(name)]))
        own = [end["name"] for end in ends if end["name"] in self._inputs]
        needed = self._unfed(own, feeds, tensors)
        optional = [end["name"] for end in ends if end["name"] not in needed]
        given = {
            tensors[end["name"]]: as_array(self.tensorflow, value, tensors[end["name"]].dtype)
            for end, value in fed(feeds, ends, optional)
        }
        for switch in self.switches:
            tensor = tensors[switch["name"]]
            if tensor not in given and tensor.op.type != WITH_DEFAULT:
                given[tensor] = switch["value"]
        return self._answered(given)

    def _answered(self, given: Any) -> list[Any]:
        """`[(output, values), ...]`; of several outputs those that answer, why others do not is in `unanswered`."""
        wanted = {name: tensor for name, tensor in self._outputs.items() if name not in self.unanswered}
        try:
            return list(zip(wanted, self._session.run(list(wanted.values()), given)))
        except Exception as error:  # a label looked up in a table whose file is gone fails alone
            found, failed = [], {}
            for name, tensor in wanted.items() if len(wanted) > 1 and not self.signature else ():
                try:
                    found.append((name, self._session.run(tensor, given)))
                except Exception as own:  # told beside those that answer
                    failed[name] = self._tables if self._empty_table(own) else brief(own)
            if not found or self._asked in failed:
                if self._empty_table(error):
                    # no other image helps
                    what = "the output " + self._asked if self._asked else "the model"
                    raise Refused("usage", what + " looks up a table that can't be filled: " + self._tables) from error
                raise error
            self.unanswered.update(failed)
            return found

    def _empty_table(self, error: Exception) -> bool:
        """Whether a call failed by a table whose file could not be read."""
        return bool(self._tables) and "Table not init" in str(error)

    def _unfed(self, own: list[str], feeds: Any, tensors: dict[str, Any]) -> set[str]:
        """Inputs that are still needed when what is fed by name is fed; those a feed without a name goes to count."""
        named = {tensors[str(name)].name for name, _ in feeds if name is not None}
        free = [name for name in own if tensors[name].name not in named]
        if not named:
            return set(free)
        wanted = {tensor.name for tensor in placeholders_before(list(self._outputs.values()), named)}
        return {name for name in free if tensors[name].name in wanted}

    def _prepare(self) -> None:
        """Before the first call: tables from their files, and zeros for variables that got no value."""
        if self._ready:
            return
        self._restorer.zero()
        for name in collection(self._meta, "table_initializer"):
            try:
                self._session.run(self._graph.get_operation_by_name(name))
            except Exception as error:  # a table whose file is gone: a call that needs it says so itself
                self._tables = self._tables or brief(error)
        self._ready = True

    def weights(self) -> Restorer:
        """The variables its outputs need, by the names they are saved under."""
        return self._restorer

    def weight_names(self) -> list[str]:
        """Saved name of every variable its outputs need."""
        return self._restorer.names()

    def bind(self, name: str, value: Any) -> str:
        """Give the variable saved as `name` a value; the name. Refused where none, or none of that shape, is."""
        return self._restorer.assign(name, value)


def is_switch(tensor: Any) -> bool:
    """It tells training from inference, or is a scalar with a default: no image goes there."""
    scalar = tensor.op.type == WITH_DEFAULT and not (tensor.shape.rank or 0)
    return scalar or (tensor.op.type in PLACEHOLDERS and inference_value(tensor) is not None)


def read_meta(path: str) -> Any:
    """The MetaGraphDef of a `.meta`, as bytes or as text."""
    from tensorflow.python.framework import meta_graph

    try:
        size = os.path.getsize(path)
        if size > LARGEST:
            raise Refused("load", path + " is too large for a meta graph: %d bytes" % size)
        meta = meta_graph.read_meta_graph_file(path)
    except Refused:
        raise
    except Exception as error:  # a file that is not there, no proto, no text of one
        raise Refused("load", path + " holds no meta graph: " + brief(error, 120)) from error
    if not meta.graph_def.node:
        raise Refused("load", path + " holds no graph")
    return meta


def imported(tensorflow: Any, meta: Any) -> Any:
    """The graph, without devices. Refused naming the operations this TensorFlow lacks."""
    for node in meta.graph_def.node:
        node.device = ""
    for function in meta.graph_def.library.function:
        for node in function.node_def:
            node.device = ""
    lacking = unknown_operations(meta.graph_def)
    if lacking:
        hint = "Predict with the TensorFlow it was trained with: --tf-python PATH"
        raise Refused("load", "its graph has operations this TensorFlow lacks: " + listed(lacking), hint)
    graph = tensorflow.compat.v1.Graph()
    with graph.as_default():
        known = meta.meta_info_def.stripped_op_list
        try:
            tensorflow.compat.v1.import_graph_def(
                meta.graph_def, name="", producer_op_list=known if len(known.op) else None
            )
        except Exception as error:  # a graph may be wrong in any way
            raise Refused("load", "its graph can't be imported: " + brief(error)) from error
    return graph


def unknown_operations(graph: Any) -> list[str]:
    """Kinds of operations that are neither TensorFlow's nor functions of the graph."""
    try:
        from tensorflow.python.framework import op_def_registry

        known = op_def_registry.get
    except (ImportError, AttributeError):
        return []
    own = {str(function.signature.name) for function in graph.library.function}
    kinds = {str(node.op) for node in graph.node}
    for function in graph.library.function:
        kinds.update(str(node.op) for node in function.node_def)
    return sorted(kind for kind in kinds if kind not in own and known(kind) is None)


def collection(meta: Any, key: str) -> list[str]:
    """Names in a collection of the meta graph."""
    return [str(name) for name in meta.collection_def[key].node_list.value] if key in meta.collection_def else []


def trainable(meta: Any) -> set[str]:
    """Names of the variables that the graph's optimizer changes."""
    from tensorflow.core.framework import variable_pb2

    key = "trainable_variables"
    kept = meta.collection_def[key].bytes_list.value if key in meta.collection_def else ()
    return {str(variable_pb2.VariableDef.FromString(one).variable_name).split(":")[0] for one in kept}


def default_of(tensorflow: Any, tensor: Any) -> Any:
    """What a placeholder with a default has for it, as a plain value; words where that is computed or large."""
    source = tensor.op.inputs[0].op
    if source.type != "Const":
        return "computed from " + str(source.name)
    value = tensorflow.make_ndarray(source.get_attr("value"))
    if value.size != 1:
        return "%d values" % value.size
    item = value.reshape(-1)[0]
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else item.item()
