"""More ways to damage `.keras` archives and sharded weights, for the child that asks Keras about each."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import keras
import numpy as np

Work = Callable[[], Any]


class KerasCases:
    """Named by the messages they bring about."""

    folder: Path
    model: Any

    def place(self, name: str) -> Path:
        """A folder with copies of everything healthy."""
        raise NotImplementedError

    def _patched(self, name: str, local: int | None, central: int | None, value: bytes) -> Work:
        """config.json with bytes of its local header and of its directory entry changed."""
        path = self.place(name) / "m.keras"
        data = bytearray(path.read_bytes())
        begin = data.find(b"config.json") - 30
        entry = data.rfind(b"config.json") - 46
        for start, offset in ((begin, local), (entry, central)):
            if offset is not None:
                data[start + offset : start + offset + len(value)] = value
        path.write_bytes(data)
        return lambda: keras.models.load_model(path)

    def zip_directory(self) -> Work:
        return self._patched("zip-directory", None, 0, b"X")

    def zip_names(self) -> Work:
        return self._patched("zip-names", 30, None, b"X")

    def zip_encrypted(self) -> Work:
        return self._patched("zip-encrypted", 6, 8, b"\x01")

    def zip_method(self) -> Work:
        return self._patched("zip-method", 8, 10, b"\x63")

    def zip_deflate(self) -> Work:
        path = self.place("zip-deflate") / "m.keras"
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in members.items():
                file.writestr(name, data)
        packed = bytearray(path.read_bytes())
        packed[packed.find(b"config.json") + 11] = 0xFF
        path.write_bytes(packed)
        return lambda: keras.models.load_model(path)

    def no_vocabulary(self) -> Work:
        where = self.folder / "vocabulary"
        where.mkdir()
        words = keras.layers.StringLookup(name="words")
        ids = keras.layers.IntegerLookup(name="ids")
        words.adapt(np.array(["a", "b"]))
        ids.adapt(np.array([1, 2]))
        inputs = [keras.Input((1,), dtype="string"), keras.Input((1,), dtype="int64")]
        keras.Model(inputs, [words(inputs[0]), ids(inputs[1])]).save(where / "m.keras")
        with zipfile.ZipFile(where / "m.keras") as file:
            members = {name: file.read(name) for name in file.namelist() if "string_lookup" not in name}
        with zipfile.ZipFile(where / "m.keras", "w") as file:
            for name, data in members.items():
                file.writestr(name, data)
        return lambda: keras.models.load_model(where / "m.keras")

    def _shards(self, name: str) -> Path:
        where = self.place(name)
        self.model.save_weights(where / "w.weights.json", max_shard_size=2e-6)
        return where / "w.weights.json"

    def no_json(self) -> Work:
        path = self._shards("no-json")
        path.write_bytes(b"")
        return lambda: self.model.load_weights(path)

    def no_shard_file(self) -> Work:
        path = self._shards("no-shard-file")
        shards = sorted(path.parent.glob("w_*.weights.h5"))
        shards[-1].unlink()
        return lambda: self.model.load_weights(path)
