"""Run in a child: what TensorFlow says of bundles, one JSON line for each prefix on the command line.

Every prefix is opened and every tensor of it is read; `[prefix, "", message]` or `[prefix, tensor, message or digest]`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", TF_ENABLE_ONEDNN_OPTS="0")

import numpy as np
import tensorflow as tf


def main(prefixes: list[str]) -> None:
    for prefix in prefixes:
        try:
            reader = tf.train.load_checkpoint(prefix)
            names = sorted(reader.get_variable_to_shape_map())
        except Exception as error:
            print(json.dumps([prefix, "", f"{type(error).__name__}: {error}"]), flush=True)
            continue
        print(json.dumps([prefix, "", ""]), flush=True)
        for name in names:
            try:
                value = np.asarray(reader.get_tensor(name))
                raw = b"|".join(map(bytes, value.reshape(-1))) if value.dtype == object else value.tobytes()
                said = "sha256 " + hashlib.sha256(raw).hexdigest()
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            print(json.dumps([prefix, name, said]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
