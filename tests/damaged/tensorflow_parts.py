"""Run in a child: a sharded save by TensorFlow's own ops, the state before the merge kept in FOLDER/before.

Usage: python tensorflow_parts.py FOLDER. FOLDER/after has what MergeV2Checkpoints made of the same parts.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")

import tensorflow as tf


def save_part(prefix: str, tensors: dict[str, tuple[str, tf.Tensor]]) -> None:
    """One SaveV2; a tensor has its slice specification."""
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[spec for spec, _ in tensors.values()],
        tensors=[tensor for _, tensor in tensors.values()],
    )


def main(folder: Path) -> None:
    rows = tf.reshape(tf.range(24, dtype=tf.float32), (6, 4))
    parts = [
        {
            "z/kernel": ("", tf.ones((3, 5))),
            "table": ("6 4 0,2:-", rows[:2]),
            "words": ("", tf.constant([b"a", b"bc"])),
        },
        {"a/bias": ("", tf.range(7)), "table": ("6 4 2,3:-", rows[2:5])},
        {"m/kernel": ("", tf.zeros((2, 2), tf.float64)), "table": ("6 4 5,1:-", rows[5:])},
    ]
    (folder / "after").mkdir(parents=True)
    prefix = str(folder / "after" / "ckpt-4")
    prefixes = [f"{prefix}_temp/part-{number:05d}-of-{len(parts):05d}" for number in range(len(parts))]
    for name, tensors in zip(prefixes, parts, strict=True):
        save_part(name, tensors)
    shutil.copytree(folder / "after", folder / "before")
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=prefixes, destination_prefix=prefix, delete_old_dirs=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
