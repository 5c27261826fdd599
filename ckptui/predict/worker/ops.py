"""What the worker can be asked: hello, load, bind, bound, weights, predict, layers, forget."""

from __future__ import annotations

import gc
import os
import sys
import time
from typing import Any

from . import filters, frames
from .blocked import as_blocked
from .errors import Refused, brief, own_fault
from .layer_spread import array_of
from .loaders import Model, keras_of, keras_version, load
from .packing import pack, unpack
from .snapshot import restart_randomness


class Ops:
    """The state between requests: one loaded model and the token it was loaded under."""

    def __init__(self, enforced: dict[str, Any]) -> None:
        self._cage = enforced
        self._armed = False
        self._model: Model | None = None
        self._token = ""
        self._bound: set[str] = set()

    def run(self, op: str, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
        """Carry out `op`; Refused for one there is not."""
        known = {
            "hello": self.hello,
            "load": self.load,
            "bind": self.bind,
            "bound": self.bound,
            "weights": self.weights,
            "predict": self.predict,
            "layers": self.layers,
            "forget": self.forget,
        }
        if op not in known:
            raise Refused("request", "no operation is called " + repr(op)[:60])
        return known[op](doc, arrays)

    def hello(self, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
        """Import tensorflow and say which versions there are."""
        tensorflow = import_tensorflow()
        import numpy

        try:
            keras = keras_of(tensorflow)
        except Refused:
            # SavedModels need none; whoever loads one of Keras' own is told
            keras = None
        facts = {
            "python": ".".join(str(part) for part in sys.version_info[:3]),
            "tensorflow": str(tensorflow.__version__),
            "keras": keras_version(keras),
            "numpy": str(numpy.__version__),
            "cage": self._cage,
        }
        return facts, ()

    def load(self, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
        """Load a model in place of the one before; what it takes, what it gives, who loaded it."""
        self.forget(doc, arrays)
        tensorflow = import_tensorflow()
        begin = time.perf_counter()
        restart_randomness(tensorflow)
        try:
            model = load(tensorflow, doc)
        except Refused:
            raise
        except Exception as error:  # the loaders' own words are Refused already; this is the cage or the memory
            raise outside(error) or error from error
        self._model, self._token = model, str(doc["token"])
        facts = dict(model.describe(), seconds=time.perf_counter() - begin)
        facts["filled"] = bool(getattr(model, "filled", False))
        facts["unfilled"] = bool(getattr(model, "unfilled", False))
        return facts, ()

    def bind(self, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
        """Push values into weights by name: `{"bound": [...], "refused": [[name, why], ...]}`."""
        model = self._loaded(doc)
        bound: list[str] = []
        refused: list[list[str]] = []
        for place, name in enumerate(doc["names"]):
            try:
                bound.append(model.bind(name, arrays[place]))
            except Refused as error:
                refused.append([name, error.detail])
        self._bound.update(bound)
        return {"bound": bound, "refused": refused}, ()

    def bound(self, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
        """Which of the model's weights got no value since it was loaded."""
        model = self._loaded(doc)
        names = model.weight_names()
        missing = [name for name in names if name not in self._bound]
        if getattr(model, "unfilled", False):
            self._run(lambda: model.zero(missing))
        return {"total": len(names), "missing": missing}, ()

    def weights(self, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
        """What values could be pushed into: `{"weights": [[name, dtype, shape], ...]}` in the model's order."""
        return {"weights": self._loaded(doc).weights().described()}, ()

    def predict(self, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
        """Call the model `calls` times with the same `feeds`; every output of every call, and how long each took.

        `held`: each from the same state, generators of random numbers apart; `carried` names what the calls changed.
        """
        model = self._loaded(doc)
        feeds = unpack(doc["feeds"], arrays)
        called: list[Any] = []
        results: list[Any] = []
        seconds = []
        state = model.state() if doc.get("held") and hasattr(model, "state") else None
        carried: set[str] = set()
        for _ in range(int(doc.get("calls", 1))):
            begin = time.perf_counter()
            named = self._run(lambda: model.call(feeds, doc.get("training")))
            seconds.append(time.perf_counter() - begin)
            entries, sent = pack([(name, sendable(value)) for name, value in named])
            called.append(entries)
            results += sent
            carried.update(state.restore() if state is not None else ())
        told = {"seconds": seconds, "calls": called, "carried": sorted(carried)}
        return dict(told, unanswered=dict(getattr(model, "unanswered", None) or {})), results

    def layers(self, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
        """Numbers of every layer's output over the rows of `feeds`, each a probe: `{"rows": [...]}` in their order."""
        model = self._loaded(doc)
        if not hasattr(model, "layers"):
            raise Refused("usage", "can't look inside: what " + str(model.loader) + " loads keeps no layers")
        feeds = unpack(doc["feeds"], arrays)
        return {"rows": self._run(lambda: model.layers(feeds, doc.get("training")))}, ()

    def _run(self, call: Any) -> Any:
        """Run a model's own code; Refused for all that goes wrong in it."""
        if not self._armed:
            # Only now: what is imported while a model loads may try for the network and mean no harm.
            self._armed = True
            self._cage["armed"] = filters.arm()
        try:
            return call()
        except Refused:
            raise
        except Exception as error:  # whatever a model's code raises says that it refuses this input
            if own_fault(error):
                raise
            raise outside(error) or Refused("input", "the model refuses the image: " + brief(error)) from error

    def forget(self, doc: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
        """Drop the loaded model."""
        had, self._model, self._token, self._bound = self._model is not None, None, "", set()
        if had:
            gc.collect()
        return {}, ()

    def _loaded(self, doc: dict[str, Any]) -> Model:
        if self._model is None or doc.get("token") != self._token:
            raise Refused("request", "another model, or none, is loaded here")
        return self._model


def outside(error: BaseException) -> Refused | None:
    """What the machine refused, not the model: memory, or what the cage forbids; None for anything else."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return Refused("memory", "it needed more memory than it may have: " + brief(error))
    return as_blocked(error)


def sendable(output: Any) -> Any:
    """The output as the protocol can carry it: extended floats widened, complex numbers as pairs, the rest as it is."""
    import numpy as np

    array = array_of(output)
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1)
    if array.dtype.kind in "OSU" or array.dtype.name in frames.PLAIN:
        return array
    return array.astype(np.float32)


def import_tensorflow() -> Any:
    """tensorflow, or Refused saying which Python lacks it, or lacks numpy."""
    lacking = "numpy"
    try:
        import numpy

        assert numpy
        lacking = "TensorFlow"
        import tensorflow
    except Exception as error:  # a TensorFlow that does not fit its numpy raises AttributeError and others
        raise Refused(
            "missing",
            "no usable " + lacking + " in " + sys.executable + " (" + brief(error) + ")",
            "Install it there (pip install 'ckptui[tf]'), or name a Python that has it with --tf-python",
        ) from error
    if not hasattr(tensorflow, "__version__"):
        raise Refused("missing", "what " + sys.executable + " imports as tensorflow is not TensorFlow")
    if os.environ.get("CKPTUI_WORKER_GPU") == "1":
        share_devices(tensorflow)
    return tensorflow


def share_devices(tensorflow: Any) -> None:
    """Take memory of a GPU only as it is needed: by default TensorFlow takes all of it, away from a training job."""
    try:
        for device in tensorflow.config.list_physical_devices("GPU"):
            tensorflow.config.experimental.set_memory_growth(device, True)
    except (RuntimeError, ValueError, AttributeError):
        # RuntimeError: the devices are in use already, by an earlier call that did the same.
        return
