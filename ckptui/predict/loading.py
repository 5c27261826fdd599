"""A model inside a worker: loaded when it is not there yet, filled from a checkpoint, called with batches."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ckptui.core.model import LayerSpread
from ckptui.core.text import safe
from ckptui.errors import Cancelled, CkptuiError, ModelDoesNotLoad, UsageError
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.borrow import Borrowed
from ckptui.predict.client import Worker
from ckptui.predict.dying import spread_of
from ckptui.predict.protocol import Reply
from ckptui.predict.wish import Wish
from ckptui.predict.worker.packing import pack, unpack

Array = np.ndarray[Any, Any]

LOAD_SECONDS = 1800.0
LOAD_SILENCE = 30.0
"""Seconds a loader may hold everything up; a damaged HDF5 file can hold it up for ever."""
CALL_SECONDS = 600.0
LEAST_BOUND = 0.25
"""Share of an architecture's weights a checkpoint must fill to be taken for the same model."""
NAMED = 3
"""Names of unfilled weights in one line."""
TOLD_MISSING = 20
"""Names of unfilled weights that are kept for the report."""
BIND_BYTES = 64 << 20
"""Values sent in one message, about."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be loaded."""

    path: str
    kind: str
    signature: str | None = None
    architecture: str | None = None
    """The save whose layers the weights go into, for saves that hold weights alone."""
    weights: Borrowed | None = None
    """Values to push in by name, for checkpoints."""
    output: str | None = None
    """Name of the output wanted; None: the first with numbers."""
    inputs: tuple[str, ...] = ()
    """Names that are fed: where a graph has no signature, they say what its inputs are."""

    @property
    def meta(self) -> str | None:
        """The `.meta` with the graph the weights go into, for checkpoints of TensorFlow 1."""
        return (self.weights.meta or None) if self.weights is not None and not self.architecture else None

    @property
    def spare(self) -> bool:
        """The values are for a SavedModel whose variables no loader can read."""
        return self.weights is not None and self.weights.spare

    def identity(self) -> tuple[Any, ...]:
        """Changes when another model, or another state of its files, is meant."""
        others = [path for path in (self.architecture, self.meta) if path]
        files = [stamp for path in (self.path, *others) for stamp in stamps(path)]
        # a graph is cut to what is chosen; everything else answers any choice
        chosen = (self.inputs, self.output) if self.meta else ()
        return (self.path, self.kind, self.signature, *others, chosen, tuple(files))


@dataclass(frozen=True, slots=True)
class Bound:
    """How much of a checkpoint found its place in the architecture."""

    bound: int
    total: int
    missing: tuple[str, ...]
    """The first weights that got no value."""
    refused: tuple[str, ...]
    """The first values that found no weight, and why."""
    rest: str = "keeps that file's values"
    """What became of weights that got no value."""
    lacking: int = 0
    """How many got none."""

    @property
    def words(self) -> str:
        """`38 of 40 weights bound`."""
        return f"{self.bound} of {self.total} weights bound"

    @property
    def told(self) -> str:
        """`38 of 40 bound; not bound: conv1/kernel, conv1/bias`."""
        if not self.missing:
            return f"{self.bound} of {self.total} bound"
        names, more = ", ".join(self.missing[:NAMED]), self.lacking - NAMED
        return f"{self.bound} of {self.total} bound; not bound: {names}{f' and {more} more' if more > 0 else ''}"


@dataclass(slots=True)
class Loaded:
    """A model that a worker holds."""

    worker: Worker
    order: Order
    facts: dict[str, Any] = field(default_factory=dict)
    bound: Bound | None = None
    carries: bool = False
    """Calls leave a state behind, which is no beginning for the next prediction."""
    _key: tuple[Any, ...] = ()

    def ensure(self, cancel: threading.Event | None = None, *, again: bool = False) -> None:
        """Load the model unless this worker still holds it as its files are now; `again` loads in any case.

        So does a model that carries a state from call to call.

        Raises:
            ModelDoesNotLoad: no loader takes it. WorkerFailed, Cancelled: as `Worker.ask`.
        """
        kept = not again and not self.carries and self.worker.holds is self
        if kept and self._key == self._held(self.order.identity()):
            return
        self.worker.holds = None
        order = self.order
        # before anything is read: what is written meanwhile is another state of the files
        files = order.identity()
        args = {
            "path": os.path.abspath(order.path),
            "kind": order.kind,
            "signature": order.signature,
            "architecture": os.path.abspath(order.architecture) if order.architecture else None,
            "meta": os.path.abspath(order.meta) if order.meta else None,
            "inputs": list(order.inputs),
            "output": order.output,
            "spare": order.spare,
            "token": order.path,
        }
        reply = self.worker.ask("load", args, cancel=cancel, limit=LOAD_SECONDS, silence=LOAD_SILENCE)
        self.facts = reply.doc
        self.bound = self._filled() if self.facts.get("filled") else None
        needed = self.facts.get("unfilled") or not order.spare
        if order.weights is not None and self.bound is None and needed:
            self.bound = self._fill(order.weights, cancel)
        self._key = self._held(files)
        self.worker.holds = self

    def _held(self, files: tuple[Any, ...]) -> tuple[Any, ...]:
        """Changes with the process and with the model's files."""
        return (self.worker.generation, self.worker.pid, files)

    def _filled(self) -> Bound:
        """Keras took the weights file as a whole."""
        total = int(self.facts.get("weights", 0))
        return Bound(total, total, (), ())

    def _fill(self, weights: Borrowed, cancel: threading.Event | None) -> Bound:
        """Push the checkpoint's values in, some megabytes a message."""
        refused: list[str] = []
        names: list[str] = []
        arrays: list[Array] = []

        def send() -> None:
            if names:
                args = {"token": self.order.path, "names": names}
                doc = self.worker.ask("bind", args, arrays, cancel=cancel, limit=CALL_SECONDS).doc
                refused.extend(f"{safe(str(name))}: {safe(str(why))}" for name, why in doc["refused"])
            names.clear()
            arrays.clear()

        places = self.worker.ask("weights", {"token": self.order.path}, cancel=cancel).doc["weights"]
        pairs, left = weights.plan(places)
        refused += [f"{safe(name)}: the model has no such weight" for name in left]
        for name, stored in pairs:
            try:
                arrays.append(weights.fetch(stored))
            except Cancelled:
                raise
            except CkptuiError as error:
                refused.append(f"{safe(name)}: {error}")
                continue
            names.append(name)
            if sum(array.nbytes for array in arrays) >= BIND_BYTES:
                send()
        send()
        return self._bound(weights, refused, cancel)

    def _bound(self, weights: Borrowed, refused: Sequence[str], cancel: threading.Event | None) -> Bound:
        """What got a value, asked of the worker. Raises ModelDoesNotLoad where it is next to nothing."""
        doc = self.worker.ask("bound", {"token": self.order.path}, cancel=cancel).doc
        missing = tuple(safe(str(name)) for name in doc["missing"])
        total = int(doc["total"])
        rest = "is zero" if self.order.meta or self.order.spare else "keeps that file's values"
        kept = tuple(refused[:TOLD_MISSING])
        bound = Bound(total - len(missing), total, missing[:TOLD_MISSING], kept, rest, len(missing))
        if self.order.spare:
            if total and not bound.bound:
                said = [*map(safe, map(str, self.facts.get("others") or ())), *kept[:1]]
                raise ModelDoesNotLoad(f"not one of {total} variables can be read: {'; '.join(said)}")
            return bound
        if not bound.bound or bound.bound < LEAST_BOUND * total:
            why = f" ({refused[0]})" if refused else ""
            raise ModelDoesNotLoad(
                f"only {bound.words}: {safe(weights.model)} is another model than the checkpoint's{why}",
                "Name the architecture it was saved from with --architecture",
                bound=(bound.bound, total),
            )
        return bound

    @property
    def takes_training(self) -> bool:
        """It is called as a Keras model, not by a signature."""
        return bool(self.facts.get("training"))

    def call(
        self,
        feed: Feed,
        calls: int = 1,
        cancel: threading.Event | None = None,
        *,
        training: bool | None = None,
    ) -> tuple[list[Answer], float]:
        """Answers of `calls` calls with the same feed, and the seconds a call took on average.

        `training` is passed on to Keras models; None leaves it unsaid.
        Raises UsageError where the model refuses the feed or has no output of the wanted name; WorkerFailed,
        Cancelled as `Worker.ask`.
        """
        entries, arrays = pack(feed.parts)
        args = {"token": self.order.path, "calls": calls, "feeds": entries, "training": training}
        return self._answers(self.worker.ask("predict", args, arrays, cancel=cancel, limit=CALL_SECONDS))

    def held(
        self, feed: Feed, calls: int, cancel: threading.Event | None = None
    ) -> tuple[list[Answer], tuple[str, ...]]:
        """Answers of calls that all start from the same state, and the names of the variables that they change.

        The states of generators of random numbers are none of these, and go on. Raises as `call`.
        """
        entries, arrays = pack(feed.parts)
        args = {"token": self.order.path, "calls": calls, "feeds": entries, "held": True}
        reply = self.worker.ask("predict", args, arrays, cancel=cancel, limit=CALL_SECONDS)
        return self._answers(reply)[0], tuple(str(name) for name in reply.doc.get("carried") or ())

    def _answers(self, reply: Reply) -> tuple[list[Answer], float]:
        """The answer of each call, and the seconds a call took on average."""
        self.facts["unanswered"] = reply.doc.get("unanswered") or {}
        seconds = [float(value) for value in reply.doc["seconds"]]
        answers, at = [], 0
        for entries in reply.doc["calls"]:
            named = unpack(entries, reply.arrays[at : at + len(entries)])
            at += len(entries)
            answers.append(Answer.of([(str(name), values) for name, values in named], self._wanted(named)))
        self.facts["output"] = answers[0].named[answers[0].chosen][0] if answers and answers[0].named else None
        return answers, sum(seconds) / max(len(seconds), 1)

    def layers(
        self, feed: Feed, cancel: threading.Event | None = None, *, training: bool | None = None
    ) -> tuple[LayerSpread, ...]:
        """Every layer's output over the rows of `feed`, each a probe of its own, in the order of the calls.

        `training` as in `call`: False silences what is random.
        Raises UsageError where nothing can be seen inside the model; WorkerFailed, Cancelled as `Worker.ask`.
        """
        entries, arrays = pack(feed.parts)
        args = {"token": self.order.path, "feeds": entries, "training": training}
        reply = self.worker.ask("layers", args, arrays, cancel=cancel, limit=CALL_SECONDS)
        return tuple(spread_of(row) for row in reply.doc["rows"])

    def _wanted(self, named: Sequence[tuple[str, Array]]) -> str | None:
        wanted, names = self.order.output, [safe(str(name)) for name, _ in named]
        if wanted is not None and wanted not in names:
            raise UsageError(f"no output is called {safe(wanted)}", f"Its outputs: {', '.join(names)}")
        return wanted


def named_inputs(wish: Wish) -> tuple[str, ...]:
    """The names in `--input NAME=FILE`; a file whose own name holds a `=` names none."""
    pairs = [given.partition("=") for given in wish.input if not os.path.exists(given)]
    return tuple(name for name, equals, _ in pairs if name and equals)


def stamps(path: str) -> tuple[tuple[Any, ...], ...]:
    """Name, inode, size and time of every file of a save: the file, a SavedModel's folder, or PREFIX.*."""
    found: list[tuple[Any, ...]] = []
    if os.path.isfile(path):
        places = [path]
    elif os.path.isdir(path):
        places = _entries(path, "") + _entries(os.path.join(path, "variables"), "")
    else:
        places = _entries(os.path.dirname(path) or ".", os.path.basename(path) + ".")
    for place in places:
        try:
            info = os.stat(place)
        except OSError:
            continue
        found.append((place, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns))
    return tuple(found)


def _entries(folder: str, prefix: str) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.name.startswith(prefix))
    except OSError:
        return []
