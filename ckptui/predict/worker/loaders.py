"""Every loader there is for a kind of save, tried in turn; which one answered and what the others said."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import tempfile
from typing import Any

from .blocked import as_blocked
from .errors import Refused, brief, own_fault
from .graph_model import CheckpointGraph
from .keras_model import KerasModel
from .saved_model import GraphModel, SignatureModel
from .unfilled import UnfilledGraph, UnfilledSignature

LARGEST_CONFIG = 64 << 20
"""Characters of a JSON config that are read."""
Model = Any
"""KerasModel, SignatureModel, GraphModel or CheckpointGraph: `describe`, `call`, `weights`, `bind`, `weight_names`."""

WHOLE = ("saved-model", "keras-archive", "keras-h5")
"""Kinds that carry their model."""


def load(tensorflow: Any, doc: dict[str, Any]) -> Model:
    """The model that a request means, by the first loader that takes it.

    `path` and `kind` are ckptui's. With `meta` the graph of that file is loaded, with `architecture` that save or
    Keras config: values come by `bind`, unless Keras itself takes the weights file (`filled`). With `spare` they can
    also come for a SavedModel whose variables no loader reads. `signature`, `inputs` and `output` are what the user
    chose. Raises Refused with what each loader said.
    """
    path, kind, architecture = str(doc["path"]), str(doc["kind"]), doc.get("architecture")
    signature = doc.get("signature")
    if architecture:
        return into(tensorflow, str(architecture), path, kind, signature)
    if doc.get("meta"):
        return first([(CheckpointGraph.loader, lambda: CheckpointGraph(tensorflow, str(doc["meta"]), doc))])
    if kind not in WHOLE:
        if kind in ("keras-weights", "tf-checkpoint", "tf-checkpoint-v1"):
            raise Refused(
                "load", "weights alone are no model", "Name a save with the architecture: --architecture ARTIFACT"
            )
        raise Refused("load", "a save of kind " + kind + " holds no model that can be called")
    attempts = attempts_for(tensorflow, path, kind, signature)
    if kind == "saved-model" and doc.get("spare"):
        attempts += unfilled_loaders(tensorflow, path, signature)
    return first(attempts)


def attempts_for(tensorflow: Any, path: str, kind: str, signature: str | None) -> Any:
    """The loaders of a save that carries its model, in the order in which they are tried."""
    if kind == "saved-model":
        return saved_model_loaders(tensorflow, path, signature)
    if kind == "keras-json":
        return config_loaders(tensorflow, path)
    return keras_loaders(tensorflow, path, kind)


def into(tensorflow: Any, architecture: str, path: str, kind: str, signature: str | None) -> Model:
    """The architecture's model; `filled` where Keras itself could load the weights at `path` into it."""

    def fresh() -> Model:
        try:
            return first(attempts_for(tensorflow, architecture, content_kind(architecture), signature))
        except Refused as error:
            error.detail = "the architecture, " + architecture + ": " + error.detail
            raise

    model = fresh()
    if kind == "keras-weights" and hasattr(model, "load_weights"):
        said = model.others
        try:
            model.load_weights(with_suffix(path, weights_suffix(path)))
            model.filled = True
        except Refused as error:
            # a part of them may be in it already
            model = fresh()
            model.others = [*said, "load_weights: " + error.detail]
    return model


def first(attempts: Any) -> Model:
    """The model of the first attempt that works; its `others` is what the failed ones said.

    Where none works, what the cage kept one of them from comes before all else that is wrong.
    """
    said: list[str] = []
    hint = ""
    stopped: Refused | None = None
    for name, attempt in attempts:
        try:
            model = attempt()
        except Refused as error:
            if error.kind == "usage":
                error.said = said
                raise
            if error.detail and not repeated(name, error.detail, said):
                said.append(name + ": " + error.detail)
            hint = hint or error.hint
        except Exception as error:  # loaders raise anything at all; each is one line of the answer
            stopped = stopped or as_blocked(error)
            why = own_fault(error) or brief(error)
            if not repeated(name, why, said):
                said.append(name + ": " + why)
        else:
            model.others = said
            return model
    if stopped is not None:
        stopped.said = said
        raise stopped
    raise Refused("load", "; ".join(said) or "no loader knows it", hint, said)


def repeated(name: str, why: str, said: list[str]) -> bool:
    """One that was tried again without values has nothing new to say."""
    return name in (UnfilledSignature.loader, UnfilledGraph.loader) and any(line.endswith(": " + why) for line in said)


def keras_loaders(tensorflow: Any, path: str, kind: str) -> Any:
    """Keras as TensorFlow brings it, then tf_keras where it is installed. Code inside a file stays refused."""
    place = with_suffix(path, ".keras" if kind == "keras-archive" else ".h5")

    def by(keras: Any, name: str) -> Any:
        with safe_mode(keras):
            return KerasModel(
                tensorflow, keras.models.load_model(place, compile=False), name + " " + keras_version(keras)
            )

    return by_each_keras(tensorflow, by)


def config_loaders(tensorflow: Any, path: str) -> Any:
    """A model without weights from what `model.to_json()` wrote."""
    with open(path, encoding="utf-8") as file:
        config = file.read(LARGEST_CONFIG)

    def by(keras: Any, name: str) -> Any:
        with safe_mode(keras):
            return KerasModel(tensorflow, keras.models.model_from_json(config), name + " " + keras_version(keras))

    return by_each_keras(tensorflow, by)


def by_each_keras(tensorflow: Any, by: Any) -> Any:
    """Keras as TensorFlow brings it, then tf_keras, imported only when its turn comes."""
    main, attempts = None, []
    try:
        main = keras_of(tensorflow)
    except Refused as error:
        attempts.append(("keras", refusing(error)))
    if main is not None:
        attempts.append(("keras", lambda: by(main, "keras")))
    if importlib.util.find_spec("tf_keras") is None:
        return attempts

    def legacy() -> Any:
        import tf_keras

        if main is not None and str(tf_keras.__version__) == str(getattr(main, "__version__", "")):
            raise Refused("load", "the same as keras")
        return by(tf_keras, "tf_keras")

    return [*attempts, ("tf_keras", legacy)]


def keras_version(keras: Any) -> str:
    """Its version; where it comes as a part of TensorFlow (2.6 to 2.15), that of the package behind it."""
    package = sys.modules.get(str(getattr(keras, "__name__", "")).split(".")[0])
    for place in (keras, package) if getattr(package, "__name__", "tensorflow") != "tensorflow" else (keras,):
        version = getattr(place, "__version__", "")
        if isinstance(version, str) and version:
            return version
    return ""


def refusing(error: Refused) -> Any:
    """A loader that can't begin says so when it is its turn."""

    def attempt() -> Model:
        raise error

    return attempt


def keras_of(tensorflow: Any) -> Any:
    """Keras as TensorFlow brings it, imported at its first use; None where it brings none.

    Raises Refused naming this Python where that import fails.
    """
    try:
        keras = getattr(tensorflow, "keras", None)
        # TensorFlow imports it lazily, when it is first asked for anything
        getattr(keras, "__version__", None)
        return keras
    except Exception as error:  # an installation that does not fit its TensorFlow raises anything at all
        raise Refused(
            "missing",
            "no usable Keras in " + sys.executable + " (" + brief(own_reason() or error) + ")",
            "Install it there (pip install keras), or name another Python with --tf-python",
        ) from error


def own_reason() -> Exception | None:
    """Why keras itself can't be imported: TensorFlow keeps that to itself, and fails otherwise when asked again."""
    try:
        importlib.import_module("keras")
    except Exception as error:  # as above
        return error
    return None


def safe_mode(keras: Any) -> Any:
    """A scope in which Keras refuses code inside a file; its loaders for HDF5 and JSON enter none by themselves."""
    package = str(getattr(keras, "__name__", "")).split(".")[0]
    for name in dict.fromkeys([package, "keras", "tf_keras"] if package == "tensorflow" else [package]):
        for place in (".src.saving.serialization_lib", ".saving.serialization_lib"):
            module = sys.modules.get(name + place)
            scope = getattr(module, "SafeModeScope", None)
            if scope is not None:
                return scope(safe_mode=True)
    return contextlib.nullcontext()


def saved_model_loaders(tensorflow: Any, path: str, signature: str | None) -> Any:
    """TensorFlow 2's loader; then the one of TensorFlow 1 in a session, which takes what the first chokes on."""
    return [
        ("tf.saved_model.load", lambda: SignatureModel(tensorflow, path, signature)),
        ("tf.compat.v1.saved_model.load", lambda: GraphModel(tensorflow, path, signature)),
    ]


def unfilled_loaders(tensorflow: Any, path: str, signature: str | None) -> Any:
    """The same two without the variables' values, which come by `bind`."""
    return [
        (UnfilledSignature.loader, lambda: UnfilledSignature(tensorflow, path, signature)),
        (UnfilledGraph.loader, lambda: UnfilledGraph(tensorflow, path, signature)),
    ]


def content_kind(path: str) -> str:
    """What an architecture is: a folder a SavedModel, a zip a .keras, JSON a config, anything else HDF5."""
    if os.path.isdir(path):
        return "saved-model"
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise Refused("load", "the architecture can't be opened: " + brief(error)) from error
    if start.startswith(b"PK"):
        return "keras-archive"
    return "keras-json" if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b'"')) else "keras-h5"


def weights_suffix(path: str) -> str:
    """The suffix by which Keras knows a weights file of this layout."""
    return path[path.rfind(".weights.") :] if path.endswith(".weights.json") else ".weights.h5"


def with_suffix(path: str, suffix: str) -> str:
    """A path with that suffix: Keras goes by names, so a file called otherwise gets a link in our own folder."""
    if path.endswith(suffix) or not os.path.exists(path):
        return path
    folder = tempfile.mkdtemp(prefix="named-")
    link = os.path.join(folder, "model" + suffix)
    os.symlink(os.path.abspath(path), link)
    return link
