"""Every loader there is for a kind of save, tried in turn; which one answered and what the others said."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from .errors import Refused, brief
from .keras_model import KerasModel
from .saved_model import GraphModel, SignatureModel

Model = Any
"""KerasModel, SignatureModel or GraphModel: `describe`, `call`, `bind`, `weight_names`."""


def load(tensorflow: Any, path: str, kind: str, signature: str | None, architecture: str | None) -> Model:
    """The model at `path`, by the first loader that takes it.

    `kind` is ckptui's: keras-archive, keras-h5, saved-model; keras-weights takes its layers from `architecture`;
    for tf-checkpoint only `architecture` is loaded (values come by `bind`). Raises Refused with what each said.
    """
    if kind == "saved-model":
        attempts = saved_model_loaders(tensorflow, path, signature)
    elif kind in ("keras-archive", "keras-h5"):
        attempts = keras_loaders(tensorflow, path, kind)
    elif kind in ("keras-weights", "tf-checkpoint"):
        if not architecture:
            raise Refused("load", "weights alone are no model", "Name a .keras or .h5 with the architecture")
        attempts = keras_loaders(tensorflow, architecture, content_kind(architecture))
    else:
        raise Refused("load", "a save of kind " + kind + " holds no model that can be called")
    try:
        model = first(attempts)
    except Refused as error:
        if architecture and kind in ("keras-weights", "tf-checkpoint"):
            error.detail = "the architecture, " + architecture + ": " + error.detail
        raise
    if kind == "keras-weights":
        model.load_weights(with_suffix(path, weights_suffix(path)))
    return model


def first(attempts: Any) -> Model:
    """The model of the first attempt that works; its `others` is what the failed ones said."""
    said: list[str] = []
    hint = ""
    for name, attempt in attempts:
        try:
            model = attempt()
        except Refused as error:
            if error.kind == "usage":
                raise
            said.append(name + ": " + error.detail)
            hint = hint or error.hint
        except Exception as error:  # loaders raise anything at all; each is one line of the answer
            said.append(name + ": " + brief(error))
        else:
            model.others = said
            return model
    raise Refused("load", "; ".join(said) or "no loader knows it", hint, said)


def keras_loaders(tensorflow: Any, path: str, kind: str) -> Any:
    """Keras as TensorFlow brings it, then tf_keras where it is installed. Code inside a file stays refused."""
    place = with_suffix(path, ".keras" if kind == "keras-archive" else ".h5")

    def by(keras: Any, name: str) -> Any:
        version = str(getattr(keras, "__version__", "") or "")
        return KerasModel(tensorflow, keras.models.load_model(place, compile=False), name + " " + version)

    attempts = []
    main = getattr(tensorflow, "keras", None)
    if main is not None:
        attempts.append(("keras", lambda: by(main, "keras")))
    try:
        import tf_keras
    except ImportError:
        return attempts
    if str(getattr(tf_keras, "__version__", "")) != str(getattr(main, "__version__", "")):
        attempts.append(("tf_keras", lambda: by(tf_keras, "tf_keras")))
    return attempts


def saved_model_loaders(tensorflow: Any, path: str, signature: str | None) -> Any:
    """TensorFlow 2's loader; then the one of TensorFlow 1 in a session, which takes what the first chokes on."""
    return [
        ("tf.saved_model.load", lambda: SignatureModel(tensorflow, path, signature)),
        ("tf.compat.v1.saved_model.load", lambda: GraphModel(tensorflow, path, signature)),
    ]


def content_kind(path: str) -> str:
    """`keras-archive` for a zip, `keras-h5` for anything else, by the first bytes."""
    try:
        with open(path, "rb") as file:
            return "keras-archive" if file.read(2) == b"PK" else "keras-h5"
    except OSError as error:
        raise Refused("load", "the architecture can't be opened: " + brief(error)) from error


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
