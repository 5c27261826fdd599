"""What a SavedModel's graph says, gathered while it is walked: few dictionaries, however many nodes it has."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ckptui.readers.graph_constants import PASSING
from ckptui.readers.graph_reach import HOLDERS, Callees, callees_of, take_input, take_node
from ckptui.readers.graph_schema import Field
from ckptui.readers.graph_steps import STEPS, WITH_INPUTS, take_helper, take_step

Message = dict[str, Any]
"""A kept message: scalars by name, a list for what repeats."""

MAX_KEPT = 200_000
"""How many messages (signatures, endpoints, dimensions) are remembered."""
MAX_OPS = 10_000
"""How many different op names are counted apart."""
ASSETS_COLLECTION = "saved_model_assets"
"""The one collection whose content is kept: TF1 exports list their asset files there."""
OTHER_OPS = "(others)"
MAX_NAME = 4096
"""Characters of a name that are kept."""
MAX_METADATA = 64 << 20
"""Characters of Keras metadata that are kept in all."""
MAX_DECLARED = 50_000
"""How many variables of a graph are remembered with dtype and shape."""
MAX_KEYS = 200_000
"""How many checkpoint keys are remembered that a graph restores."""
MAX_ARGUMENTS = 10_000
"""Names of one function's arguments that are kept."""
MAX_PLACES = 5
"""How many nodes of a flagged op are remembered by name."""


@dataclass(slots=True)
class Damage:
    """The first place where the bytes contradict their format, and how often they do."""

    offset: int
    """Byte (of a text graph: character) where the field begins."""
    where: str
    """The messages around it: `meta_graphs.graph_def.node`."""
    reason: str
    expected: int | None = None
    """Where a length is at fault: the bytes it asks for; of the whole file if `of_file`, else of the field alone."""
    found: int | None = None
    """The bytes there are for it."""
    of_file: bool = False
    count: int = 1
    inside: int = 0
    """Places where there were bytes enough: no end of the file explains them."""


@dataclass(slots=True)
class OpCount:
    """How often an op occurs, and in which nodes first."""

    total: int = 0
    places: list[str] = field(default_factory=list)
    """`name` or `name (in function)` of the first nodes."""
    texts: list[bytes] = field(default_factory=list)
    """Byte-string attributes that name a place (`file://...`), where they were asked for."""


VARIABLE_OPS = frozenset({"VariableV2", "Variable", "VarHandleOp", "AutoReloadVariable", "TemporaryVariable"})
_RESTORED = re.compile(r"(?:.*/)?RestoreV2(?:_[0-9]+)?/tensor_names", re.DOTALL)
"""The constant that tells a RestoreV2 op which checkpoint keys to read."""
_TELLING = VARIABLE_OPS | {"Const"}

Declared = tuple[int, tuple[int | None, ...] | None]
"""A variable's DataType number and shape; None for an unknown size or rank."""


class Gatherer:
    """Takes in a walk's messages; nodes, functions and objects are counted, the rest kept as dictionaries."""

    def __init__(self, watched: frozenset[str] = frozenset(), keep_attributes: frozenset[str] = frozenset()) -> None:
        """`watched` ops are remembered with their first nodes, `keep_attributes` ones with their byte strings."""
        self.root: Message = {}
        self.watched = watched
        self.keep_attributes = keep_attributes
        self.damage: Damage | None = None
        self.kept = 0
        self.metadata = 0
        self.complete = True
        """False when a cap ended the gathering before the bytes did."""
        self.verified = True
        """False when parts that are not kept were skipped unread, for the sake of time."""

    def child(self, parent: Message, field: Field) -> Message | None:
        """The dictionary for a message that begins; None where it need not be kept."""
        if not field.kept:
            return None
        kind = field.message
        if type(parent) is Callees:
            return parent if kind in HOLDERS else None
        if kind == "NodeDef":
            return {"parent": parent, "kept": self.kept}
        if kind == "FunctionDef":
            parent["functions"] = parent.get("functions", 0) + 1
            return {"home": parent}
        if kind == "AttrEntry":
            op = parent.get("op")
            if op and not (
                op in STEPS or op == "Const" or op in self.keep_attributes or (op in _TELLING and _tells(op, parent))
            ):
                return callees_of(parent)
        elif kind == "CollectionDef":
            if parent.get("key") != ASSETS_COLLECTION:
                return None
        elif kind == "SavedObject":
            parent["objects"] = parent.get("objects", 0) + 1
            first = parent["objects"] == 1
            return {"home": parent} if not first else parent.setdefault("root", {"home": parent})
        elif kind == "SavedVariable":
            home = parent.get("home")
            if home is not None:
                home["variables"] = home.get("variables", 0) + 1
            return None
        elif kind == "ArgDef":
            return _argument(parent, field)
        if not field.repeated:
            found: Message = parent.setdefault(field.name, {})
            return found
        return self._one_more(parent, field)

    def _one_more(self, parent: Message, field: Field) -> Message | None:
        """The dictionary for one of several messages; None where there are too many."""
        if self.kept >= MAX_KEPT:
            self.complete = False
            return None
        self.kept += 1
        made: Message = {}
        parent.setdefault(field.name, []).append(made)
        return made

    def leaf(self, parent: Message, field: Field, value: float | str | bytes) -> None:
        """A scalar of a kept message."""
        if type(parent) is Callees:
            if field.name == "name":
                parent["names"].append(str(value)[:MAX_NAME])
            return
        if field.name == "input":
            take_input(parent, str(value)[:MAX_NAME])
            if parent.get("op") not in WITH_INPUTS:
                return
        if not isinstance(value, (int, float)) and len(value) > MAX_NAME:
            if field.name != "metadata":
                value = value[:MAX_NAME]
            self.metadata += len(value)
            if self.metadata > MAX_METADATA:
                self.complete = False
                return
        if field.repeated:
            values = parent.setdefault(field.name, [])
            if len(values) < MAX_KEPT:
                values.append(value)
        else:
            parent[field.name] = value

    def done(self, message: Message, field: Field) -> None:
        """A kept message ends; nodes are counted now, when their op is known for sure."""
        if field.message != "NodeDef":
            return
        parent = message["parent"]
        home = parent.get("home", parent)
        op = message.get("op", "")
        counts = home.get("ops")
        if counts is None:
            counts = home["ops"] = Counter()
        home["nodes"] = home.get("nodes", 0) + 1
        counts[op if op in counts or len(counts) < MAX_OPS else OTHER_OPS] += 1
        if op in self.watched:
            self._remember(home, op, message)
        if op in _TELLING and "attr" in message:
            _take_variable(home, op, message)
        if op in STEPS:
            take_step(home, op, message)
        elif op == "Const" or op in PASSING:
            take_helper(home, op, message)
        take_node(home, op, message)
        self.kept = message["kept"]

    def _remember(self, home: Message, op: str, message: Message) -> None:
        seen = home.setdefault("watched", {}).setdefault(op, OpCount())
        seen.total += 1
        if len(seen.places) < MAX_PLACES:
            name, parent = message.get("name", ""), message["parent"]
            function = parent.get("signature", {}).get("name", "")
            seen.places.append(f"{name} (in {function})" if "home" in parent else name)
        for entry in message.get("attr", ()):
            text = entry.get("value", {}).get("s")
            if isinstance(text, bytes) and b"://" in text and len(seen.texts) < MAX_PLACES:
                seen.texts.append(text)

    def hurt(
        self,
        offset: int,
        where: str,
        reason: str,
        lengths: tuple[int, int] | None = None,
        of_file: bool = False,
    ) -> None:
        """Note damage; the first place is remembered, the others are counted. `lengths`: asked for, and there."""
        if self.damage is None:
            expected, found = lengths or (None, None)
            self.damage = Damage(offset, where, reason, expected, found, of_file)
        else:
            self.damage.count += 1
        if not of_file and "runs off the end" not in reason:
            self.damage.inside += 1


def _argument(parent: Message, field: Field) -> Message:
    """One of a function's arguments; they are gone when the function is."""
    made: Message = {}
    arguments = parent.setdefault(field.name, [])
    if len(arguments) < MAX_ARGUMENTS:
        arguments.append(made)
    return made


def shape_of(message: Message) -> tuple[int | None, ...] | None:
    """Sizes of a gathered TensorShapeProto; None for unknown rank; a size not written is 0, one below 0 unknown."""
    if message.get("unknown_rank"):
        return None
    sizes = [dim.get("size", 0) for dim in message.get("dim", ())]
    return tuple(None if size >> 63 else size for size in sizes)


def _tells(op: str, node: Message) -> bool:
    """Whether a node's attributes say which variables there are or which keys are restored."""
    if op == "Const":
        return _RESTORED.fullmatch(node.get("name", "")) is not None
    return "home" not in node["parent"]


def _take_variable(home: Message, op: str, node: Message) -> None:
    """Remember a variable by its name, or the keys of a restore op by the function or the name it stands in."""
    values = {entry.get("key"): entry.get("value", {}) for entry in node["attr"]}
    name, parent = node.get("name", ""), node["parent"]
    if op != "Const":
        shared = values.get("shared_name", {}).get("s", b"").decode("utf-8", "backslashreplace")
        shape = values.get("shape", {}).get("shape")
        declared: dict[str, set[Declared]] = home.setdefault("declared", {})
        if len(declared) < MAX_DECLARED:
            dtype = values.get("dtype", {}).get("type", 0)
            declared.setdefault(shared or name, set()).add((dtype, None if shape is None else shape_of(shape)))
    elif _tells(op, node):
        function = parent.get("signature", {}).get("name", "") if "home" in parent else ""
        keys = values.get("value", {}).get("tensor", {}).get("string_val", ())
        restored: list[tuple[str, str, list[str]]] = home.setdefault("restored", [])
        if sum(len(known) for _, _, known in restored) + len(keys) <= MAX_KEYS:
            texts = [key.decode("utf-8", "backslashreplace") for key in keys]
            restored.append((function, name, texts))
