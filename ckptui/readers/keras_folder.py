"""A Keras model saved with `zipped=False`: the parts of a `.keras` archive as files of a folder. Reader child only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckptui.core.model import Finding, Listing, Tensor
from ckptui.core.sayings import says
from ckptui.core.text import safe
from ckptui.errors import CkptuiError, Damaged, NoSuchPath, Unreadable
from ckptui.readers.hdf5_contents import Contents, Tick
from ckptui.readers.keras_config import load_config
from ckptui.readers.keras_findings import in_words, listed, note
from ckptui.readers.keras_parts import (
    KERAS_ASSETS_FROM,
    MAX_JSON_BYTES,
    NPZ_WEIGHTS,
    WEIGHTS,
    Parts,
    PartsReader,
    Weights,
    assemble,
)
from ckptui.readers.keras_root import folded, root_of
from ckptui.readers.npz_weights import NpzWeights
from ckptui.readers.source import Source, read_whole
from ckptui.readers.zip_directory import ZIP_ERRORS

if TYPE_CHECKING:
    pass

CONFIG, METADATA = "config.json", "metadata.json"
FORM = "folder"
"""In the artifact's `writer`: no checksum stands over such a save."""
MAX_FILES = 100_000


def open_folder(path: str | os.PathLike[str]) -> KerasFolder:
    """Open a folder with the parts of a Keras model.

    Raises NoSuchPath for what is no folder, Damaged (`not-a-model`) for one without any part.
    """
    where = os.fspath(path)
    try:
        names = sorted(os.listdir(where))
    except (FileNotFoundError, NotADirectoryError):
        raise NoSuchPath(where) from None
    except OSError as error:
        raise Unreadable(f"{where}: {error.strerror}", evidence={"file": where, "errno": error.errno}) from None
    for name in (WEIGHTS, NPZ_WEIGHTS, CONFIG, METADATA):
        if name in names:
            source = Source(os.path.join(where, name))
            return KerasFolder(where, names, source, name)
    facts: dict[str, object] = {**listed(names), "file": where, "tensorflow_says": says("no-archive", file=where)}
    raise Damaged(f"{where} is a folder without the parts of a Keras model", code="not-a-model", evidence=facts)


class KerasFolder(PartsReader):
    """The folder; datasets of its `model.weights.h5` are its tensors."""

    def __init__(self, path: str, names: list[str], source: Source, main: str) -> None:
        super().__init__(source)
        self.path = path
        self._names = names
        self._main = main

    def verify(self, tick: Tick | None = None) -> list[Finding]:
        """Nothing stands over the files of a folder: no finding."""
        return []

    def _make(self, tick: Tick | None) -> Listing:
        metadata, findings = self._json(METADATA)
        config, found = self._json(CONFIG)
        findings += found
        weights = self._weights()
        self._contents, self._npz = weights.contents, weights.npz
        files = self._below()
        parts = Parts(self.path, metadata, config, weights, files, len(self._names) >= KERAS_ASSETS_FROM)
        listing, inside = assemble(parts, self._source, tick)
        root = root_of(inside)
        if root is not None:
            inside = folded(root, inside)
        total = sum(_size(os.path.join(self.path, name)) for name in files)
        writer = {**listing.artifact.writer, "form": FORM}
        listing = replace(listing, artifact=replace(listing.artifact, bytes=total, writer=writer))
        self._source.fence()
        return listing.with_findings([replace(one, artifact=self.path) for one in (*findings, *inside)])

    def _opened(self, tensor: Tensor) -> Contents:
        if self._listing is None:
            self.listing()
        return super()._opened(tensor)

    def _weights(self) -> Weights:
        path = self._source.path
        if self._main not in (WEIGHTS, NPZ_WEIGHTS):
            detail = f"the folder has no {WEIGHTS}: {in_words(self._names)}"
            facts = {**listed(self._names), "member": WEIGHTS, "tensorflow_says": says("no-weights-member")}
            return Weights(findings=[note("weights-missing", self.path, detail, evidence=facts)])
        if not self._source.size:
            facts = {"file": path, "bytes": 0, "tensorflow_says": says("no-signature")}
            return Weights(findings=[note("empty-file", self.path, f"{self._main} has 0 bytes", evidence=facts)])
        try:
            if self._main == NPZ_WEIGHTS:
                return Weights(npz=NpzWeights(self._source, 0, self._source.size))
            return Weights(Contents(self._source))
        except (Damaged, *ZIP_ERRORS) as error:
            return Weights(findings=[self._refused(error)])

    def _refused(self, error: Exception) -> Finding:
        """Weights that are no weights: what their first bytes say they are."""
        from ckptui.readers.sniff import sniff

        path = self._source.path
        seen = sniff(path)
        code = seen.code or getattr(error, "code", "") or "zip-damaged"
        detail = f"{self._main}: {seen.reason or getattr(error, 'detail', '') or error}"
        facts = {**getattr(error, "evidence", {}), **seen.evidence, "file": path}
        if self._main == WEIGHTS:
            facts["tensorflow_says"] = says("no-signature")
        return note(code, self.path, detail, evidence=facts)

    def _json(self, name: str) -> tuple[Mapping[str, Any] | None, list[Finding]]:
        """The object in a JSON file, and what is wrong with it."""
        path = os.path.join(self.path, name)
        facts: dict[str, object] = {"file": path, "member": name}
        if name not in self._names:
            if name != CONFIG:
                return None, []
            facts["tensorflow_says"] = says("no-archive", file=self.path)
            detail = f"{name} is missing: Keras does not know the layers, nor the folder for a model"
            return None, [self._part(detail, facts, "A part of the model is missing")]
        try:
            data = read_whole(path, MAX_JSON_BYTES)
        except CkptuiError as error:
            return None, [self._part(f"{name}: {error.detail}", facts, "A part of the model can't be read")]
        facts["bytes"] = len(data)
        if not data:
            return None, [note("empty-file", self.path, f"{name} has 0 bytes", evidence=facts)]
        if not data.strip(b"\0"):
            return None, [note("zero-filled", self.path, f"{name} holds zeros only", evidence=facts)]
        try:
            return load_config(data), []
        except Damaged as error:
            detail = f"{name}: {safe(error.detail)}"
            return None, [self._part(detail, {**facts, **error.evidence}, "A part of the model is damaged")]

    def _part(self, detail: str, evidence: Mapping[str, object], title: str) -> Finding:
        return note("zip-damaged", self.path, detail, evidence=evidence, title=title)

    def _below(self) -> list[str]:
        """Files below the folder, with slashes; links are not followed."""
        found: list[str] = []
        for where, folders, names in os.walk(self.path):
            folders.sort()
            inside = os.path.relpath(where, self.path)
            found += [name if inside == "." else f"{inside}/{name}" for name in sorted(names)]
            if len(found) >= MAX_FILES:
                break
        return found[:MAX_FILES]


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
