"""Weights that a checkpoint was meant to hold and does not, seen from its object graph alone.

`tf.train.Checkpoint` stores what it reaches by attributes. Keras 3 does not let it reach layers or variables that a
subclassed model or layer keeps in a plain list or dictionary: they are left out without a word, and
`assert_consumed()` passes when the rest is restored. A built optimizer that is tracked as well keeps the trainable
ones under its own `_trainable_variables`; moving statistics, seeds and frozen weights are nowhere in the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Certainty, Finding, Severity
from ckptui.core.names import OBJECT_GRAPH_KEY
from ckptui.core.sayings import says
from ckptui.readers.object_graph import GraphNode, ObjectGraph

MAX_NODES = 300_000
"""Objects of the largest graph that is walked."""
SHOWN = 20
COUNTER = "save_counter"
TRAINABLE = "_trainable_variables"

MODEL_WORDS = re.compile(
    "model|net|network|backbone|encoder|decoder|generator|discriminator|critic|actor|policy|agent|student|teacher"
    "|classifier|autoencoder|vae|gan|unet|layers?"
)
"""Names by which people track a model: what stands under one of them is expected to have weights."""

_WORDS = re.compile(r"[a-z]+")
_NUMBERED = re.compile("layer-[0-9]+")
"""Keras 2's own names for every layer of a model saved by `save_weights`, a Flatten among them."""
_BATCH_NORM = re.compile(r"batch_?norm|(?:^|_)bn[0-9]*(?:_|$)", re.IGNORECASE)
_SERVICE = re.compile(
    r"_|signatures$|keras_api$|(?:call_signature_parameters|trainable_variables|non_trainable_variables|optimizer)$"
)
"""Children that Keras keeps for itself, whose emptiness means nothing."""

ADVICE = (
    "The weights are not in the file, no tool can bring them back from it. Save with model.save_weights or model.save, "
    "or assign every layer to an attribute of its own, and check a restored model's answers."
)


def never_saved(graph: ObjectGraph, prefix: str, names: Sequence[str]) -> list[Finding]:
    """What the object graph of the checkpoint at `prefix` shows to be missing from it; nothing for a SavedModel.

    A SavedModel's export walks Keras' own lists of layers and refuses functions with untracked variables.
    `names`: the tensors that are stored.
    """
    promised = _promised(graph, prefix, names)
    if promised is not None:
        return [promised]
    inside, base = os.path.split(prefix)
    if not graph.nodes or len(graph.nodes) > MAX_NODES or (base, os.path.basename(inside)) == ("variables",) * 2:
        return []
    stored = sum(1 for name in names if name != OBJECT_GRAPH_KEY and not name.startswith(f"{COUNTER}/"))
    return list(_Look(graph, prefix).findings(stored))


def _promised(graph: ObjectGraph, prefix: str, names: Sequence[str]) -> Finding | None:
    """Variables the graph has a key for, and the index no entry: they had no value when they were saved."""
    stored = set(names)
    absent = [key for key in graph.names if key not in stored]
    if not absent:
        return None
    detail = f"{len(absent)} of {len(graph.names)} variables of the object graph are not in the index, {absent[0]} "
    detail += "for one: they had no value when they were saved"
    evidence = {
        "not_in_file": absent[:SHOWN],
        "count": len(absent),
        "variables": len(graph.names),
        "tensorflow_says": says("no-key", tensor=absent[0]),
    }
    return make("weights-never-saved", prefix, absent[0], detail=detail, evidence=evidence, advice=ADVICE)


class _Look:
    """One graph, and what is reached in it without going through an optimizer."""

    def __init__(self, graph: ObjectGraph, prefix: str) -> None:
        self.nodes = graph.nodes
        self.prefix = prefix
        self.optimizers = {n for n, node in enumerate(graph.nodes) if _is_optimizer(node)}
        self.parents: dict[int, tuple[int, str]] = {}
        """Object to the first object, breadth first, that holds it, and under which name."""
        self.reached = self._reach()

    def findings(self, stored: int) -> Iterator[Finding]:
        """One finding an optimizer that trains what no model reaches, else what the models' emptiness shows."""
        told = False
        for number in sorted(self.optimizers):
            finding = self._kept_by(number)
            if finding is not None:
                told = True
                yield finding
        if told:
            return
        if not stored and not any(node.attributes for n, node in enumerate(self.nodes) if not self._is_counter(n)):
            # A functional model is built, whatever it is made of: its layers have no weights.
            if not any(node.child("_operations") is not None for node in self.nodes):
                yield self._nothing_at_all()
            return
        for name, target in self._tracked():
            if not self._at(target).children and _says_model(name):
                yield self._empty(name)

    # ------------------------------------------------------------------ the walk

    def _reach(self) -> set[int]:
        """Objects reached from the root, the optimizers and what only they hold left out."""
        reached = {0}
        todo = [0]
        for number in todo:
            for name, target in self.nodes[number].children:
                if target in reached or not 0 <= target < len(self.nodes):
                    continue
                self.parents.setdefault(target, (number, name))
                if target not in self.optimizers:
                    reached.add(target)
                    todo.append(target)
        return reached

    def _at(self, number: int | None) -> GraphNode:
        return self.nodes[number] if number is not None and 0 <= number < len(self.nodes) else GraphNode()

    def _path(self, number: int) -> str:
        """Names from the root, as checkpoint keys have them."""
        names: list[str] = []
        while number in self.parents and len(names) < SHOWN:
            number, name = self.parents[number]
            names.append(name)
        return "/".join(reversed(names))

    def _is_counter(self, number: int) -> bool:
        return self.parents.get(number) == (0, COUNTER)

    def _tracked(self) -> Iterator[tuple[str, int]]:
        """What the checkpoint was told to hold, besides optimizers and plain variables."""
        for name, target in self.nodes[0].children:
            if target not in self.optimizers and target != 0 and not self._at(target).attributes:
                yield name, target

    # ------------------------------------------------------------------ what is told

    def _kept_by(self, optimizer: int) -> Finding | None:
        """Weights that an optimizer trains and no model reaches; None where there are none."""
        trained = [target for _, target in self._at(self._at(optimizer).child(TRAINABLE)).children]
        lost = [target for target in trained if target not in self.reached and self._at(target).key]
        root_is_model = self.nodes[0].child("_compiled_trainable_state") is not None
        owners = [] if root_is_model else [name for name, _ in self._tracked() if not _SERVICE.match(name)]
        if not lost or not (owners or root_is_model):
            return None
        layers = _layers(self.nodes, optimizer, trained)
        names = [self._at(target).full_name or self._at(target).key for target in lost]
        homes = list(dict.fromkeys(layer for target in lost if (layer := layers.get(target))))
        gone = [f"{layer}/{part}" for layer in homes for part in _STATISTICS if _BATCH_NORM.search(layer)]
        evidence: dict[str, Any] = {
            "node": owners[0] if owners else "",
            "nodes": owners[:SHOWN],
            "without_variables": self._bare()[:SHOWN],
            "optimizer": self._path(optimizer),
            "trained": len(trained),
            "only_in_optimizer": len(lost),
            "weights": names[:SHOWN],
            "layers": homes[:SHOWN],
            "not_in_file": gone[:SHOWN],
        }
        where = evidence["node"] or "the model"
        detail = f"{len(lost)} of {len(trained)} trained weights are in the file as the optimizer's only, {where} "
        detail += "does not reach them: its layers or variables sit in a list or dictionary"
        if gone:
            detail += f"; not in the file: {', '.join(gone[:3])}{' ...' if len(gone) > 3 else ''}"
            return self._make(detail, evidence)
        detail += "; moving statistics, seeds and frozen weights of the same layers, if any, are not in the file"
        return self._make(detail, evidence, "likely", "warning", "Weights are in the file through the optimizer only")

    def _nothing_at_all(self) -> Finding:
        tracked = [name for name, target in self._tracked()]
        parts = [self._path(n) for name, top in self._tracked() for _, n in self._at(top).children][:SHOWN]
        evidence: dict[str, Any] = {
            "node": tracked[0] if tracked else "",
            "nodes": tracked[:SHOWN],
            "without_variables": self._bare()[:SHOWN],
            "variables": 0,
        }
        what = ", ".join(tracked[:3]) or "the tracked object"
        detail = f"there is no variable in the file: nothing of {what} was stored. "
        if parts:
            detail += "A model that was saved before it was built looks like this, and so does one without weights"
            return self._make(detail, evidence, "possible", "warning")
        if all(name == COUNTER for name, _ in self.nodes[0].children):
            detail = "there is no variable in the file, and the checkpoint was made of no object that could have one"
            return self._make(detail, evidence, "possible", "warning")
        detail += "Its layers sit in a list or dictionary, or it was saved before it was built"
        return self._make(detail, evidence, "likely")

    def _empty(self, name: str) -> Finding:
        evidence: dict[str, Any] = {"node": name, "nodes": [name], "without_variables": [name], "variables": 0}
        detail = (
            f"no variable of {name} is in the file: its layers sit in a list or dictionary, or it was saved before "
        )
        return self._make(detail + "it was built", evidence, "likely")

    def _bare(self) -> list[str]:
        """Paths of tracked objects that hold nothing, Keras' own lists left out."""
        bare: list[str] = []
        for number in sorted(self.reached):
            node = self.nodes[number]
            if number == 0 or node.children or node.attributes or len(bare) >= SHOWN:
                continue
            if not _SERVICE.match(self.parents[number][1]):
                bare.append(self._path(number))
        return bare

    def _make(
        self,
        detail: str,
        evidence: dict[str, Any],
        certainty: Certainty = "confirmed",
        severity: Severity = "error",
        title: str | None = None,
    ) -> Finding:
        return make(
            "weights-never-saved",
            self.prefix,
            detail=detail,
            evidence=evidence,
            certainty=certainty,
            severity=severity,
            title=title,
            advice=ADVICE,
        )


_STATISTICS = ("moving_mean", "moving_variance")


def _is_optimizer(node: GraphNode) -> bool:
    """A Keras 3 optimizer: it lists its own variables and the weights it trains."""
    return node.child(TRAINABLE) is not None and node.child("_variables") is not None


def _says_model(name: str) -> bool:
    return not _NUMBERED.fullmatch(name) and any(MODEL_WORDS.fullmatch(word) for word in _WORDS.findall(name.lower()))


def _layers(nodes: list[GraphNode], optimizer: int, trained: list[int]) -> dict[int, str]:
    """Weight to the layer it belongs to, read off the names of its slots: `adam/net_bn_1_gamma_momentum`.

    The weights' own names lack the layer's where a model was built by its first call; the slots' have it.
    """
    found: dict[int, str] = {}
    for _, row in nodes[optimizer].children:
        slots = nodes[row].children if 0 <= row < len(nodes) else ()
        if len(slots) != len(trained) or [target for _, target in slots] == trained:
            continue
        for weight, (_, slot) in zip(trained, slots, strict=True):
            if weight not in found and 0 <= slot < len(nodes) and 0 <= weight < len(nodes):
                layer = _layer(nodes[slot].full_name, nodes[weight].full_name)
                if layer:
                    found[weight] = layer
    return found


def _layer(slot: str, weight: str) -> str:
    joined = slot.partition("/")[2]
    leaf = weight.rpartition("/")[2]
    cut = joined.rfind(f"_{leaf}_")
    return joined[:cut] if leaf and cut > 0 else ""
