"""Run in a child: damages saves in every way the table of messages names and prints what is said about each.

Usage: python sayings_child.py FOLDER; one JSON line per case on the last lines of stdout.
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")

import h5py
import keras
import numpy as np
import tensorflow as tf

from tests.damaged.sayings_keras import KerasCases
from tests.readers import make_bundle as mb

WHOLE_LINE, LINE_NUMBER = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
Work = Callable[[], Any]


class Cases(KerasCases):
    """Every damage by the name of the message it brings about."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = tf.train.Checkpoint(
            kernel=tf.Variable(np.arange(3200, dtype=np.float32)), step=tf.Variable(7, dtype=tf.int64)
        )
        self.good = folder / "good"
        self.good.mkdir()
        self.prefix = self.root.write(str(self.good / "ckpt"))
        layers = [keras.Input((6,)), keras.layers.Dense(40, name="hidden"), keras.layers.Dense(3, name="logits")]
        self.model = keras.Sequential(layers)
        self.model.save(self.good / "m.keras")
        self.model.save(self.good / "m.h5")
        tf.saved_model.save(self._module(), str(self.good / "export"))

    def _module(self) -> tf.Module:
        module = tf.Module()
        module.kernel = tf.Variable(np.ones((6, 3), np.float32))
        (self.folder / "vocab.txt").write_text("a\nb\n")
        start = tf.lookup.TextFileInitializer(
            str(self.folder / "vocab.txt"), tf.string, WHOLE_LINE, tf.int64, LINE_NUMBER
        )
        module.table = tf.lookup.StaticHashTable(start, -1)
        module.call = tf.function(
            lambda x: module.table.lookup(x) + tf.cast(module.kernel[0, 0], tf.int64),
            input_signature=[tf.TensorSpec([None], tf.string)],
        )
        return module

    def place(self, name: str) -> Path:
        where = self.folder / "cases" / name
        shutil.copytree(self.good, where)
        return where

    # ------------------------------------------------------------------ checkpoints

    def bundle(self, name: str) -> tuple[Path, Path, str]:
        where = self.place(name)
        return where / "ckpt.index", where / "ckpt.data-00000-of-00001", str(where / "ckpt")

    def load(self, prefix: str, tensor: str = "kernel/.ATTRIBUTES/VARIABLE_VALUE") -> Work:
        return lambda: tf.train.load_checkpoint(prefix).get_tensor(tensor)

    def no_index(self) -> Work:
        index, _, prefix = self.bundle("no-index")
        index.unlink()
        return self.load(prefix)

    def no_shard(self) -> Work:
        _, data, prefix = self.bundle("no-shard")
        data.unlink()
        return self.load(prefix)

    def short_shard(self) -> Work:
        _, data, prefix = self.bundle("short-shard")
        os.truncate(data, 100)
        return self.load(prefix)

    def checksum(self) -> Work:
        _, data, prefix = self.bundle("checksum")
        flip(data, 1000)
        return self.load(prefix)

    def length_checksum(self) -> Work:
        _, data, prefix = self.bundle("length-checksum")
        content = bytearray(data.read_bytes())
        place = content.find(b"\x0a")
        graph = max(place, 12808)
        content[graph] ^= 1
        data.write_bytes(bytes(content))
        return self.load(prefix, "_CHECKPOINTABLE_OBJECT_GRAPH")

    def block_checksum(self) -> Work:
        index, _, prefix = self.bundle("block-checksum")
        flip(index, 20)
        return self.load(prefix)

    def directory_checksum(self) -> Work:
        index, _, prefix = self.bundle("directory-checksum")
        flip(index, index.stat().st_size - 60)
        return self.load(prefix)

    def directory_beyond(self) -> Work:
        index, _, prefix = self.bundle("directory-beyond")
        content = bytearray(index.read_bytes())
        footer = len(content) - 48
        numbers = [place for place in range(footer, footer + 40) if content[place] < 128]
        content[numbers[3]] = 127
        index.write_bytes(bytes(content))
        return self.load(prefix)

    def bad_magic(self) -> Work:
        index, _, prefix = self.bundle("bad-magic")
        index.write_bytes(gzip.compress(index.read_bytes()) + bytes(48))
        return self.load(prefix)

    def short_index(self) -> Work:
        index, _, prefix = self.bundle("short-index")
        os.truncate(index, 20)
        return self.load(prefix)

    def index_folder(self) -> Work:
        index, _, prefix = self.bundle("index-folder")
        index.unlink()
        index.mkdir()
        return self.load(prefix)

    def crafted(self, name: str, header: bytes, entry: bytes, key: bytes = b"t") -> str:
        where = self.folder / "cases" / name
        where.mkdir(parents=True)
        (where / "x.index").write_bytes(mb.table([(b"", header), (key, entry)]))
        (where / "x.data-00000-of-00001").write_bytes(bytes(24))
        return str(where / "x")

    def entry_size(self) -> Work:
        return self.load(self.crafted("entry-size", mb.header(), mb.entry(3, (5, 3), size=24)), "t")

    def slices(self) -> Work:
        entry = mb.entry(3, (4, 3), slices=[[(0, 2), (0, -1)]])
        return self.load(self.crafted("slices", mb.header(), entry), "t")

    def consumer(self) -> Work:
        return self.load(self.crafted("consumer", mb.header(min_consumer=5), mb.entry(3, (2, 3), size=24)), "t")

    def v1_table(self) -> Work:
        _, data, _ = self.bundle("v1-table")
        return self.load(str(data))

    def v1(self, name: str) -> Path:
        path = self.folder / "cases" / name
        values = [np.arange(100_000, dtype=np.float32) + n for n in range(3)]
        tf.raw_ops.Save(filename=str(path), tensor_names=["a", "b", "c"], data=values)
        return path

    def v1_no_list(self) -> Work:
        path = self.folder / "cases" / "v1-no-list"
        path.write_bytes(mb.table([(b"a", b"nothing"), (b"b", b"nothing")]))
        return self.load(str(path), "a")

    def v1_tensor(self) -> Work:
        path = self.v1("v1-tensor")
        flip(path, path.stat().st_size // 2)
        return self.load(str(path), "b")

    # ------------------------------------------------------------------ state files

    def meta_wire(self) -> Work:
        v1, where = tf.compat.v1, self.place("meta-wire")
        with v1.Graph().as_default():
            v1.get_variable("w", (2,))
            v1.train.Saver().export_meta_graph(str(where / "m.meta"))
        whole = (where / "m.meta").read_bytes()
        (where / "m.meta").write_bytes(whole[: len(whole) // 2])

        def load() -> None:
            with v1.Graph().as_default():
                v1.train.import_meta_graph(str(where / "m.meta"))

        return load

    def empty_state(self) -> Work:
        where = self.place("empty-state")
        (where / "checkpoint").write_bytes(b"")
        return lambda: tf.train.latest_checkpoint(str(where))

    def state(self, name: str, content: bytes) -> Work:
        where = self.place(name)
        (where / "checkpoint").write_bytes(content)

        def look() -> None:
            lines: list[str] = []
            handler = logging.Handler()
            handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
            logger = tf.get_logger()
            logger.addHandler(handler)
            try:
                assert tf.train.latest_checkpoint(str(where)) is None
            finally:
                logger.removeHandler(handler)
            raise Quiet(" ".join(lines))

        return look

    def ignored_state(self) -> Work:
        return self.state("ignored-state", b"<html>gone</html>")

    def undecoded_state(self) -> Work:
        return self.state("undecoded-state", bytes(range(256)))

    def no_match(self) -> Work:
        return self.state("no-match", b'model_checkpoint_path: "gone-7"\n')

    # ------------------------------------------------------------------ SavedModels

    def export(self, name: str) -> tuple[Path, Work]:
        where = self.place(name) / "export"
        return where, lambda: tf.saved_model.load(str(where))

    def no_graph(self) -> Work:
        where, work = self.export("no-graph")
        (where / "saved_model.pb").unlink()
        return work

    def empty_graph(self) -> Work:
        where, work = self.export("empty-graph")
        os.truncate(where / "saved_model.pb", 0)
        return work

    def graph_wire(self) -> Work:
        where, work = self.export("graph-wire")
        os.truncate(where / "saved_model.pb", 500)
        return work

    def graph_text(self, name: str = "graph-text", text: str = "meta_graphs {\n") -> Work:
        where, work = self.export(name)
        (where / "saved_model.pb").unlink()
        (where / "saved_model.pbtxt").write_text(text)
        return work

    def graph_text_field(self) -> Work:
        return self.graph_text("graph-text-field", 'saved_model_schema_version: 1\n hello: "there"\n')

    def no_variables(self) -> Work:
        where, work = self.export("no-variables")
        (where / "variables" / "variables.index").unlink()
        return work

    def no_asset(self) -> Work:
        where, work = self.export("no-asset")
        (where / "assets" / "vocab.txt").unlink()
        return work

    def graph_utf8(self) -> Work:
        where, work = self.export("graph-utf8")
        path = where / "saved_model.pb"
        path.write_bytes(path.read_bytes().replace(b"vocab.txt", b"voca\xff.txt"))
        return work

    def unbound(self) -> Work:
        where, work = self.export("unbound")
        shutil.rmtree(where / "variables")
        tf.saved_model.save(tf.Module(), str(where / "other"))
        shutil.move(where / "other" / "variables", where / "variables")
        return work

    def variable_tensor_shape(self) -> Work:
        where, work = self.export("variable-tensor-shape")
        self.root.kernel = tf.Variable(np.ones((6, 4), np.float32))
        tf.train.Checkpoint(kernel=self.root.kernel).write(str(where / "variables" / "variables"))
        return work

    def no_key(self) -> Work:
        where = self.folder / "cases" / "no-key"
        v1 = tf.compat.v1
        for name in ("gain", "bias"):
            builder = v1.saved_model.Builder(str(where / name))
            with v1.Graph().as_default(), v1.Session() as session:
                v1.get_variable(name, (2,))
                session.run(v1.global_variables_initializer())
                builder.add_meta_graph_and_variables(session, ["serve"])
            builder.save()
        shutil.rmtree(where / "gain" / "variables")
        shutil.move(where / "bias" / "variables", where / "gain" / "variables")
        return lambda: tf.saved_model.load(str(where / "gain"))

    # ------------------------------------------------------------------ HDF5

    def h5(self, name: str, damage: Callable[[bytearray], bytearray | bytes | None]) -> Work:
        path = self.place(name) / "m.h5"
        content = bytearray(path.read_bytes())
        changed = damage(content)
        path.write_bytes(bytes(content if changed is None else changed))
        return lambda: keras.models.load_model(path)

    def short_hdf5(self) -> Work:
        return self.h5("short-hdf5", lambda content: content[:-1])

    def no_signature(self) -> Work:
        return self.h5("no-signature", lambda content: b"<!DOCTYPE html><html>gone</html>")

    def open_for_write(self) -> Work:
        path = self.place("open-for-write") / "m.h5"
        with h5py.File(path, "w", libver="latest") as file:
            file["x"] = np.arange(5)
        content = bytearray(path.read_bytes())
        content[11] = 1
        content[44:48] = lookup3(bytes(content[:44])).to_bytes(4, "little")
        path.write_bytes(bytes(content))
        return lambda: keras.models.load_model(path)

    def object_type(self) -> Work:
        path = self.place("object-type") / "m.h5"
        with h5py.File(path) as file:
            header = h5py.h5o.get_info(file["model_weights/hidden"].id).addr
        content = bytearray(path.read_bytes())
        size = int.from_bytes(content[header + 8 : header + 12], "little")
        content[header + 16 : header + 16 + size] = bytes(size)
        path.write_bytes(bytes(content))
        return lambda: keras.models.load_model(path)

    def address_overflow(self) -> Work:
        def shorter(content: bytearray) -> None:
            content[40:48] = (len(content) - 64).to_bytes(8, "little")

        return self.h5("address-overflow", shorter)

    def signature(self, name: str, word: bytes) -> Work:
        def damage(content: bytearray) -> None:
            content[content.find(word)] ^= 1

        return self.h5(name, damage)

    def b_tree(self) -> Work:
        return self.signature("b-tree", b"TREE")

    def local_heap(self) -> Work:
        return self.signature("local-heap", b"HEAP")

    def free_list(self) -> Work:
        def damage(content: bytearray) -> None:
            heap = content.find(b"HEAP")
            content[heap + 16 : heap + 24] = (1 << 20).to_bytes(8, "little")

        return self.h5("free-list", damage)

    def symbol_node(self) -> Work:
        return self.signature("symbol-node", b"SNOD")

    def object_header(self) -> Work:
        def damage(content: bytearray) -> None:
            content[int.from_bytes(content[64:72], "little")] ^= 16

        return self.h5("object-header", damage)

    def no_config(self) -> Work:
        path = self.place("no-config") / "m.h5"
        with h5py.File(path, "a") as file:
            del file.attrs["model_config"]
        return lambda: keras.models.load_model(path)

    def no_layer_group(self) -> Work:
        path = self.place("no-layer-group") / "m.h5"
        with h5py.File(path, "a") as file:
            del file["model_weights"]["hidden"]
        return lambda: keras.models.load_model(path)

    # ------------------------------------------------------------------ archives

    def archive(self, name: str, change: Callable[[dict[str, bytes]], Any]) -> Work:
        path = self.place(name) / "m.keras"
        with zipfile.ZipFile(path) as file:
            members = {entry: file.read(entry) for entry in file.namelist()}
        change(members)
        with zipfile.ZipFile(path, "w") as file:
            for entry, content in members.items():
                file.writestr(entry, content)
        return lambda: keras.models.load_model(path)

    def no_archive(self) -> Work:
        path = self.place("no-archive") / "m.keras"
        os.truncate(path, path.stat().st_size // 2)
        return lambda: keras.models.load_model(path)

    def zip_header(self) -> Work:
        path = self.place("zip-header") / "m.keras"
        path.write_bytes(path.read_bytes().replace(b"PK\x03\x04", b"PK\x03\x05"))
        return lambda: keras.models.load_model(path)

    def zip_crc(self) -> Work:
        path = self.place("zip-crc") / "m.keras"
        with zipfile.ZipFile(path) as file:
            start = file.getinfo("config.json").header_offset
        flip(path, start + 60)
        return lambda: keras.models.load_model(path)

    def zip_member(self) -> Work:
        return self.archive("zip-member", lambda members: members.pop("config.json"))

    def no_weights_member(self) -> Work:
        return self.archive("no-weights-member", lambda members: members.pop("model.weights.h5"))

    def inner(self, name: str, change: Callable[[h5py.File], Any]) -> Work:
        inner = self.folder / f"{name}.h5"

        def edit(members: dict[str, bytes]) -> None:
            inner.write_bytes(members["model.weights.h5"])
            with h5py.File(inner, "a") as file:
                change(file)
            members["model.weights.h5"] = inner.read_bytes()

        return self.archive(name, edit)

    def layer_variables(self) -> Work:
        return self.inner("layer-variables", lambda file: file["layers"].__delitem__("dense"))

    def variable_shape(self) -> Work:
        def change(file: h5py.File) -> None:
            del file["layers/dense/vars/1"]
            file["layers/dense/vars/1"] = np.zeros(7, np.float32)

        return self.inner("variable-shape", change)


class Quiet(Exception):
    """Carries a log line where nothing is raised."""


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(bytes(content))


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hashlittle with a start value of 0, which HDF5 takes as checksum of its metadata."""

    def turn(value: int, count: int) -> int:
        return (value << count | value >> (32 - count)) & 0xFFFFFFFF

    a = b = c = (0xDEADBEEF + len(data)) & 0xFFFFFFFF
    rest = data
    while len(rest) > 12:
        a, b, c = (
            (value + int.from_bytes(rest[at : at + 4], "little")) & 0xFFFFFFFF for value, at in ((a, 0), (b, 4), (c, 8))
        )
        for count in (4, 6, 8, 16, 19, 4):
            a = (a - c) & 0xFFFFFFFF ^ turn(c, count)
            c = (c + b) & 0xFFFFFFFF
            a, b, c = b, c, a
        rest = rest[12:]
    words = rest.ljust(12, b"\0")
    a, b, c = (
        (value + int.from_bytes(words[at : at + 4], "little")) & 0xFFFFFFFF for value, at in ((a, 0), (b, 4), (c, 8))
    )
    for count in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - turn(b, count)) & 0xFFFFFFFF
        a, b, c = b, c, a
    return b


def main(folder: Path) -> None:
    cases = Cases(folder)
    from ckptui.core.sayings import SAYINGS

    answers = []
    for name in SAYINGS:
        try:
            getattr(cases, name.replace("-", "_"))()()
            answers.append({"case": name, "error": "", "text": ""})
        except Quiet as quiet:
            answers.append({"case": name, "error": "", "text": str(quiet)})
        except Exception as error:
            # whatever a loader raises is the answer
            answers.append({"case": name, "error": type(error).__name__, "text": str(error)})
    print("\n".join(json.dumps(answer) for answer in answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
