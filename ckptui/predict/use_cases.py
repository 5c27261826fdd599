"""The use cases of prediction, as a session offers them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ckptui.core.model import Finding, Found, Kind, Listing, Predicted, PredictReport, Run, WorkerState
from ckptui.errors import CkptuiError, NoSuchPath, UsageError

if TYPE_CHECKING:
    import numpy as np

    from ckptui.predict.predictor import Predictor
    from ckptui.predict.rivals import Against

MOST_TOLD = 4
"""Models near weights that fit none of them, named in one line."""


class Predicting(Protocol):
    """What these use cases stand on."""

    @property
    def predictor(self) -> Predictor: ...

    def resolve(self, argument: str) -> Found: ...

    def open(self, path: str, kind: Kind | None = None, found: Found | None = None) -> Listing: ...

    def array(self, listing: Listing, name: str, limit: int = ...) -> np.ndarray[Any, Any]: ...

    def sibling_model(self, path: str, looked: list[str] | None = None) -> str | None: ...


class PredictUseCases:
    """The part of a session that asks models."""

    def predict(
        self: Predicting, model: str, images: Sequence[str], *, cancel: threading.Event | None = None, **options: Any
    ) -> Iterator[str | Run | Predicted | PredictReport]:
        """Run images through a model in the worker; `options` are the fields of `predict.wish.Wish`.

        Weights without a model borrow the architecture of the save beside them that fits best.

        Raises:
            Flagged: the model, its architecture or the save it is held against reaches outside, and `allow_flagged`
                is not set; no worker was started.
            UsageError: it holds weights alone, and no model near it fits them.
            The rest as `predict.predictor.Predictor.predict`.
        """
        from ckptui.predict.borrow import borrowed_architecture, needs_layers
        from ckptui.predict.trust import allowed
        from ckptui.predict.wish import wish_of

        wish = wish_of(options)
        found = self.resolve(model)
        listing = self.open(found.path, found=found)
        if needs_layers(found.path, found.kind) and not wish.architecture:
            looked: list[str] = []
            wish = replace(wish, architecture=self.sibling_model(found.path, looked))
            if wish.architecture is None:
                raise _no_architecture(found.path, looked)
        weights = borrowed_architecture(self, listing, wish.architecture)
        against = _against(self, wish.against, wish.architecture) if wish.against else None
        opened = [listing]
        opened += [_layers_of(self, path) for path in (wish.architecture, against and against.architecture) if path]
        opened += [against.listing] if against else []
        for borrowed in (weights, against.weights if against is not None else None):
            opened += [self.open(borrowed.meta)] if borrowed is not None and borrowed.meta else []
        flagged = allowed(opened, wish.allow_flagged)
        yield from self.predictor.predict(
            listing, images, weights=weights, wish=wish, against=against, flagged=flagged, cancel=cancel
        )

    def unusable(self: Predicting, paths: Mapping[str, str]) -> dict[str, str]:
        """Which of the files named for a prediction are not what they should be: the same names, with words why not.

        Names: `model`, `against` (saves), `architecture` (a save or a Keras config), `labels`, `image`; an empty path
        is none. Reads no more than tells what is there; a file that is there may fail later all the same.
        """
        found = {name: _why_not(self, name, path) for name, path in paths.items() if path}
        return {name: words for name, words in found.items() if words}

    def labels_near(self, model: str, image: str) -> str | None:
        """The `labels.txt` that a prediction takes its names from where none are asked for; None where none is near."""
        from ckptui.predict.labels import find_labels

        return find_labels(model, [image] if image else [])

    def flags(self: Predicting, model: str, architecture: str | None = None) -> tuple[Finding, ...]:
        """What someone has to have seen before this model runs; empty where no flagged op or layer was found.

        Raises NoSuchPath, NotASave as `resolve`.
        """
        from ckptui.predict.trust import allowed

        return allowed([_layers_of(self, path) for path in (model, architecture) if path], True)

    def warm_up(self: Predicting, tf_python: str | None = None, gpu: bool = False) -> None:
        """Start the worker and have it import TensorFlow; returns at once, and says nothing where that fails."""
        self.predictor.warm_up(tf_python, gpu)

    def worker_state(self: Predicting, tf_python: str | None = None, gpu: bool = False) -> WorkerState:
        """What the warm worker does and how much memory it has."""
        return self.predictor.state(tf_python, gpu)


def _why_not(session: Predicting, name: str, path: str) -> str:
    """Why a file can't be used under that name; empty where nothing speaks against it."""
    from ckptui.predict.config_file import is_config
    from ckptui.predict.labels import read_labels

    try:
        if name == "labels":
            read_labels(path)
        elif name == "image":
            if os.path.isdir(path):
                return f"a folder is no image: {path}"
            os.stat(path)
        elif name != "architecture" or not is_config(path):
            session.resolve(path)
    except (NoSuchPath, OSError, ValueError) as error:
        cause = error.__cause__ or error
        there = isinstance(cause, OSError) and not isinstance(cause, (FileNotFoundError, NotADirectoryError))
        return f"{cause.strerror}: {path}" if isinstance(cause, OSError) and there else f"no such file: {path}"
    except CkptuiError as error:
        return f"{error.title}: {error.detail}" if error.detail else error.title
    return ""


def _no_architecture(path: str, looked: Sequence[str]) -> UsageError:
    """Nothing near it fits; says what was looked at."""
    if looked:
        more = f"; and {len(looked) - MOST_TOLD} more" if len(looked) > MOST_TOLD else ""
        near = f"; looked at {', '.join(looked[:MOST_TOLD])}{more}"
    else:
        near = "; no .keras or .h5 lies in its folder or the two above it"
    hint = "Name a save, or a Keras config, with its architecture: --architecture ARTIFACT"
    return UsageError(f"{path} holds weights and no model{near}", hint, title="No architecture")


def _layers_of(session: Predicting, path: str) -> Listing:
    """The listing of a save, or of the Keras config that lends its layers."""
    from ckptui.predict.config_file import config_listing, is_config

    return config_listing(path) if is_config(path) else session.open(path)


def _against(session: Predicting, path: str, architecture: str | None) -> Against:
    """The other save, opened; weights without a model go into the layers the first one's went into, or a sibling's."""
    from ckptui.predict.borrow import borrowed_architecture, needs_layers
    from ckptui.predict.rivals import Against

    found = session.resolve(path)
    listing = session.open(found.path, found=found)
    if not needs_layers(found.path, found.kind):
        return Against(listing, None, borrowed_architecture(session, listing, None))
    layers = architecture or session.sibling_model(found.path)
    return Against(listing, layers, borrowed_architecture(session, listing, layers))
