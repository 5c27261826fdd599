"""A Keras config on its own, what `model.to_json()` wrote: an architecture that is no save."""

from __future__ import annotations

import os

from ckptui.core.model import Artifact, Finding, Listing
from ckptui.core.text import safe
from ckptui.errors import Damaged, UsageError
from ckptui.readers.keras_config import MAX_CONFIG_BYTES, architecture_rows, load_config
from ckptui.readers.keras_unsafe import unsafe_layers

FIRST = 64
"""Bytes that tell JSON from anything else."""


def is_config(path: str) -> bool:
    """A file that begins as a JSON object."""
    try:
        with open(path, "rb") as file:
            return os.path.isfile(path) and file.read(FIRST).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    except OSError:
        return False


def config_listing(path: str) -> Listing:
    """Its layers and what in it would run code; no tensors. Raises UsageError where it is no config of a model."""
    try:
        with open(path, "rb") as file:
            config = load_config(file.read(MAX_CONFIG_BYTES + 1).removeprefix(b"\xef\xbb\xbf"))
        rows = architecture_rows(config, ())
    except (OSError, Damaged) as error:
        raise UsageError(f"{safe(path)} can't be read as an architecture: {error}") from error
    if not rows:
        hint = "Name a save with its architecture, or what model.to_json() wrote"
        raise UsageError(f"{safe(path)} holds no layers of a Keras model", hint)
    found: tuple[Finding, ...] = tuple(unsafe_layers(config, path))
    size = os.path.getsize(path)
    artifact = Artifact(path, "keras-archive", os.path.basename(path), None, size, 0, 0, 0, os.path.getmtime(path))
    return Listing(artifact, (), found, architecture=rows)
