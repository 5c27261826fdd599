"""Run in a child: writes V1 checkpoints with TensorFlow, and says what TensorFlow reads from them and from others.

Usage: python tensorflow_v1.py FOLDER [PATH...]. A JSON line per checkpoint goes to FOLDER/answers.jsonl: of those
written here what was `saved`, of all what `load_checkpoint` `read`, each as {name: [dtype, shape, digest]}.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")

import numpy as np
import tensorflow as tf

from tests.readers.tensorflow_bundles import digest, tensor_of

DTYPES = """
    float32 float64 int32 uint8 int16 int8 string complex64 int64 bool qint8 quint8 qint32 uint16 complex128 float16
"""
"""All that TensorFlow's V1 writer takes."""

Answer = dict[str, list[Any]]


def described(value: Any, dtype: str) -> list[Any]:
    array = np.asarray(value, object) if isinstance(value, bytes) else np.asarray(value)
    return [dtype, list(array.shape), digest(value)]


def save(path: Path, tensors: dict[str, tf.Tensor]) -> Answer:
    tf.raw_ops.Save(filename=str(path), tensor_names=list(tensors), data=list(tensors.values()))
    return {name: described(tensor.numpy(), tensor.dtype.name) for name, tensor in tensors.items()}


def every_dtype(folder: Path) -> dict[str, Answer]:
    shapes = {"m": (2, 3), "s": (), "e": (0, 2), "r4": (1, 2, 1, 3)}
    names = DTYPES.split()
    return {
        name: save(folder / f"dtype-{name}", {f"{name}/{k}": tensor_of(name, shape) for k, shape in shapes.items()})
        for name in names
    }


def odd_names(folder: Path) -> Answer:
    names = ["", "a\x00b", "é/ü", "\xff", "a" * 300, "with space", "new\nline", "\x1b[31m"]
    return save(folder / "names", {name: tf.constant([float(n)]) for n, name in enumerate(names)})


def large(folder: Path) -> Answer:
    rng = np.random.default_rng(5)
    big = rng.normal(size=(300, 700)).astype("f4")
    return save(
        folder / "large",
        {
            "big": tf.constant(big),
            "ints": tf.constant(rng.integers(-(2**62), 2**62, size=100_000)),
            "texts": tf.constant([bytes([65 + n % 26]) * (n % 50) for n in range(9000)]),
            **{f"small/{n}": tf.constant(big[n, :50]) for n in range(200)},
        },
    )


def partitioned(folder: Path) -> dict[str, Answer]:
    """Variables cut into parts, in one file and in three."""
    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph:
        rows = v1.get_variable(
            "rows", (10, 4), partitioner=v1.fixed_size_partitioner(3), initializer=v1.random_normal_initializer(seed=1)
        )
        columns = v1.get_variable(
            "columns",
            (3, 9),
            dtype=tf.int32,
            partitioner=v1.fixed_size_partitioner(2, axis=1),
            initializer=v1.random_uniform_initializer(-1_000_000, 1_000_000, seed=2, dtype=tf.int32),
        )
        plain = v1.get_variable("dense/kernel", (3, 2))
        step = v1.train.get_or_create_global_step()
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V1)
        with v1.Session(graph=graph) as session:
            session.run(v1.global_variables_initializer())
            values = session.run([rows.as_tensor(), columns.as_tensor(), plain, step])
            saver.save(session, str(folder / "single.ckpt"), global_step=5)
    names = ("rows", "columns", "dense/kernel", "global_step")
    saved = {name: described(value, value.dtype.name) for name, value in zip(names, values, strict=True)}
    pieces = np.arange(40, dtype="f4").reshape(10, 4)
    for shard, (start, count) in enumerate(((0, 4), (4, 4), (8, 2))):
        tf.raw_ops.SaveSlices(
            filename=str(folder / f"shared-0000{shard}-of-00003"),
            tensor_names=["table", f"own/{shard}"],
            shapes_and_slices=[f"10 4 {start},{count}:-", ""],
            data=[tf.constant(pieces[start : start + count]), tf.constant([shard])],
        )
    shared = {"table": described(pieces, "float32")}
    shared |= {f"own/{n}": described(np.array([n], "i4"), "int32") for n in range(3)}
    return {"single.ckpt-5": saved, "shared-?????-of-00003": shared}


def read(path: str) -> Answer:
    """What `load_checkpoint` gives; tensors that it can't return are left out."""
    reader = tf.train.load_checkpoint(path)
    dtypes = reader.get_variable_to_dtype_map()
    found = {}
    for name in reader.get_variable_to_shape_map():
        try:
            found[name] = described(reader.get_tensor(name), dtypes[name].name)
        except tf.errors.UnimplementedError:
            continue
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    saved = {f"dtype-{name}": answer for name, answer in every_dtype(folder).items()}
    saved |= {"names": odd_names(folder), "large": large(folder), **partitioned(folder)}
    paths = [*(str(folder / name) for name in saved), *sys.argv[2:]]
    with open(folder / "answers.jsonl", "w") as out:
        for path in paths:
            answer = {"path": path, "saved": saved.get(os.path.basename(path), {}), "read": read(path)}
            print(json.dumps(answer), file=out)


if __name__ == "__main__":
    main()
