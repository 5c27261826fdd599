"""What of a Keras layer's configuration the model's answer depends on, in one form for Keras 1, 2 and 3.

Left out: names, initializers, regularizers, constraints, seeds, and what acts in training alone (dropout rates,
momentum, `trainable`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 6
"""Lists in lists, and layers in layers, that are looked into."""

_RENAMED_CLASSES = {
    "MaxPool1D": "MaxPooling1D", "MaxPool2D": "MaxPooling2D", "MaxPool3D": "MaxPooling3D",
    "AvgPool1D": "AveragePooling1D", "AvgPool2D": "AveragePooling2D", "AvgPool3D": "AveragePooling3D",
    "GlobalAvgPool1D": "GlobalAveragePooling1D", "GlobalAvgPool2D": "GlobalAveragePooling2D",
    "GlobalAvgPool3D": "GlobalAveragePooling3D", "GlobalMaxPool1D": "GlobalMaxPooling1D",
    "GlobalMaxPool2D": "GlobalMaxPooling2D", "GlobalMaxPool3D": "GlobalMaxPooling3D",
    "Convolution2DTranspose": "Conv2DTranspose", "Convolution3DTranspose": "Conv3DTranspose",
    "BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization", "CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU",
    "Model": "Functional",
}  # fmt: skip
_RENAMED_FIELDS = {
    "border_mode": "padding", "subsample": "strides", "nb_filter": "filters", "bias": "use_bias",
    "atrous_rate": "dilation_rate", "dim_ordering": "data_format", "inner_activation": "recurrent_activation",
    "pool_length": "pool_size", "stride": "strides",
}  # fmt: skip
_RENAMED_VALUES = {"tf": "channels_last", "th": "channels_first", "swish": "silu", "hard_swish": "hard_silu"}

_ONE_AXIS_EACH = frozenset(
    {"kernel_size", "strides", "pool_size", "dilation_rate", "padding", "size", "cropping", "output_padding"}
)
"""A number here stands for the same number along every axis."""

_FOR_TRAINING = frozenset(
    {
        "trainable", "dropout", "recurrent_dropout", "rate", "noise_shape", "seed", "stddev", "momentum",
        "synchronized", "renorm", "renorm_clipping", "renorm_momentum", "fused", "virtual_batch_size", "adjustment",
        "initializer", "init", "weights", "lora_rank", "lora_alpha", "seed_generator",
    }
)  # fmt: skip
_NO_MATTER = frozenset(
    {
        "name", "dtype", "batch_input_shape", "batch_shape", "build_input_shape", "input_shape", "input_dtype",
        "sparse", "ragged", "optional", "unroll", "implementation", "time_major", "zero_output_for_mask",
        "autocast", "quantization_config", "shared_object_id", "registered_name", "module", "input_length",
        "layer", "forward_layer", "backward_layer", "layers", "input_layers", "output_layers", "build_config",
        "return_state", "function_type", "output_shape_type", "output_shape_module", "output_shape",
        "consume_less", "experimental_autocast", "num_bins", "vocabulary_size", "has_input_vocabulary",
        "idf_weights", "vocabulary_dtype", "encoding", "use_gpu", "flash_attention",
    }
)  # fmt: skip
"""Names, shapes that follow from elsewhere, ways of computing the same, layers that have rows of their own."""
_SUFFIXES_FOR_TRAINING = ("_initializer", "_regularizer", "_constraint")

_CONV = {"padding": "valid", "strides": 1, "dilation_rate": 1, "groups": 1, "activation": "linear", "use_bias": True}
_RNN = {"return_sequences": False, "go_backwards": False, "stateful": False, "use_bias": True, "activation": "tanh"}
_NORM = {"epsilon": 1e-3, "center": True, "scale": True, "axis": -1}
_POOLS = tuple(f"{kind}Pooling{n}D" for kind in ("Max", "Average") for n in (1, 2, 3))
_POOL = {"padding": "valid"}
_GLOBAL_POOL = {"keepdims": False}
_DEFAULTS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
            "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D",
        ),
        _CONV,
    ),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), _RNN),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization"), _NORM),
    **dict.fromkeys(_POOLS, _POOL),
    **dict.fromkeys([f"Global{name}" for name in _POOLS], _GLOBAL_POOL),
    "GroupNormalization": {"epsilon": 1e-3, "center": True, "scale": True, "axis": -1},
    "Dense": {"activation": "linear", "use_bias": True},
    "EinsumDense": {"activation": "linear"},
    "Embedding": {"mask_zero": False},
    "ReLU": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0},
    "LeakyReLU": {"negative_slope": 0.3},
    "ELU": {"alpha": 1.0},
    "Softmax": {"axis": -1},
    "Concatenate": {"axis": -1},
    "Rescaling": {"scale": 1.0, "offset": 0.0},
    "Resizing": {"interpolation": "bilinear", "crop_to_aspect_ratio": False, "pad_to_aspect_ratio": False},
    "UpSampling2D": {"interpolation": "nearest"},
    "Normalization": {"invert": False},
    "Bidirectional": {"merge_mode": "concat"},
}  # fmt: skip
"""What Keras takes where a config does not say."""
_NO_POLICY = frozenset(
    {"StringLookup", "IntegerLookup", "TextVectorization", "Hashing", "HashedCrossing", "CategoryEncoding", "Masking",
     "Discretization", "InputLayer", "Flatten", "Reshape", "Permute", "RepeatVector", "Cropping1D", "Cropping2D"}
)  # fmt: skip
"""Compute nothing in floating point, or had other dtypes in Keras 2."""
_OWN_OUTPUT_SHAPE = frozenset({"EinsumDense", "MultiHeadAttention"})


def class_of(name: str) -> str:
    """A layer's class under the name Keras has for it now, without the package it was registered in."""
    bare = name.rpartition(">")[2]
    return _RENAMED_CLASSES.get(bare, bare)


def counting(class_name: str, config: Mapping[str, Any], rank: int | None = None) -> dict[str, Any]:
    """Field to value, in a form that compares; a field that is left out is not known.

    `class_name` as `class_of` gives it; `rank`: of the layer's output, where it is known.
    """
    return _counting(class_name, config, rank, MAX_DEPTH)


def policy(class_name: str, config: Mapping[str, Any]) -> str | None:
    """The name of a layer's dtype policy; None where the config does not tell, or nothing depends on it."""
    if class_name in _NO_POLICY or class_name.endswith(("Wrapper",)):
        return None
    return policy_name(config.get("dtype"))


def policy_name(dtype: Any) -> str | None:
    """`mixed_bfloat16` from the string of Keras 2 or the object of Keras 3; None for anything else."""
    if isinstance(dtype, Mapping):
        inner = dtype.get("config")
        dtype = inner.get("name") if isinstance(inner, Mapping) else None
    return dtype if isinstance(dtype, str) and dtype else None


def same_value(one: Any, other: Any) -> bool:
    """Whether two normalised values are one: numbers within what float32 writes of them."""
    if isinstance(one, bool) or isinstance(other, bool):
        return bool(one) == bool(other) if isinstance(one, (bool, int)) and isinstance(other, (bool, int)) else False
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-12)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same_value(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def _counting(class_name: str, config: Mapping[str, Any], rank: int | None, depth: int) -> dict[str, Any]:
    fields = dict(_DEFAULTS.get(class_name, {}))
    for name, raw in config.items():
        name = _field_name(class_name, name)
        if name in _FOR_TRAINING or name.endswith(_SUFFIXES_FOR_TRAINING) or _ignored(class_name, name):
            continue
        if name == "cell" and isinstance(raw, Mapping) and depth:
            inner = raw.get("config")
            cell = class_of(str(raw.get("class_name", "")))
            fields["cell"] = cell
            if isinstance(inner, Mapping):
                nested = _counting(cell, inner, None, depth - 1)
                fields |= {f"cell {field}": value for field, value in nested.items()}
            continue
        value = _value(name, raw, depth)
        if value is _UNKNOWN:
            fields.pop(name, None) if raw is not None else None
            continue
        fields[name] = value
    return _settled(class_name, fields, rank)


def _settled(class_name: str, fields: dict[str, Any], rank: int | None) -> dict[str, Any]:
    """The same after what one field says about another."""
    if "Pooling" in class_name and fields.get("strides") is None and "pool_size" in fields:
        fields["strides"] = fields["pool_size"]
    axis = fields.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        axis = fields["axis"] = axis[0]
    if class_name != "Normalization" and type(axis) is int:
        if axis >= 0 and rank is not None:
            fields["axis"] = axis - rank
        elif axis >= 0:
            del fields["axis"]
    if class_name == "Normalization":
        # -1 and the last axis by number are one, and with mean and variance in the config it does not matter
        fields.pop("axis", None)
    if fields.get("output_padding", 0) is None:
        del fields["output_padding"]
    if fields.get("max_value", 0) is None:
        fields["max_value"] = "none"
    return {name: value for name, value in fields.items() if value is not None}


def _field_name(class_name: str, name: str) -> str:
    if class_name == "LeakyReLU" and name == "alpha":
        return "negative_slope"
    if name == "output_dim" and class_name != "Embedding":
        return "units"
    return _RENAMED_FIELDS.get(name, name)


def _ignored(class_name: str, name: str) -> bool:
    if name == "output_shape" and class_name in _OWN_OUTPUT_SHAPE:
        return False
    if name == "num_bins" and class_name in ("Hashing", "HashedCrossing", "Discretization"):
        return False
    if name == "input_dim" and class_name != "Embedding":
        return True
    return name in _NO_MATTER


_UNKNOWN = object()


def _value(name: str, raw: Any, depth: int) -> Any:
    if name.endswith("activation"):
        return _function(raw)
    if name == "function":
        return _code(raw)
    if raw is None:
        return None if name in ("max_value", "strides", "merge_mode", "output_padding") else _UNKNOWN
    value = _plain(raw, depth)
    if name in _ONE_AXIS_EACH:
        value = _alike(value)
    return value


def _plain(raw: Any, depth: int) -> Any:
    """Numbers, lower-case words, lists of them; objects by their class and what they are made with."""
    if isinstance(raw, str):
        word = raw.lower() if len(raw) <= 40 else raw
        return _RENAMED_VALUES.get(word, word)
    if isinstance(raw, (bool, int, float)):
        return raw
    if isinstance(raw, (list, tuple)):
        items = [_plain(item, depth - 1) for item in raw] if depth > 0 else [_UNKNOWN]
        return _UNKNOWN if any(item is _UNKNOWN for item in items) else items
    if isinstance(raw, Mapping) and raw.get("class_name") in ("__tuple__", "TensorShape", "__numpy__", "__tensor__"):
        inner = raw.get("items") or raw.get("config")
        if isinstance(inner, Mapping):
            inner = inner.get("value")
        return _plain(inner, depth - 1) if depth > 0 and inner is not None else _UNKNOWN
    return _UNKNOWN


def _alike(value: Any) -> Any:
    """[2, 2] as 2, and [[1, 1], [1, 1]] as 1."""
    if not isinstance(value, list) or not value:
        return value
    items = [_alike(item) for item in value]
    return items[0] if all(same_value(item, items[0]) for item in items) else items


def _function(raw: Any) -> Any:
    """An activation by its name, and its numbers where it is an object: `leaky_re_lu(negative_slope=0.1)`."""
    if raw is None:
        return "linear"
    if isinstance(raw, str):
        word = raw.rpartition(">")[2].lower()
        return _RENAMED_VALUES.get(word, word)
    if not isinstance(raw, Mapping):
        return _UNKNOWN
    inner = raw.get("config")
    if raw.get("class_name") in ("function", "Function") or isinstance(inner, str):
        return _function(inner) if isinstance(inner, str) else _UNKNOWN
    name = class_of(str(raw.get("class_name", "")))
    if not name:
        return _UNKNOWN
    if name == "Activation" and isinstance(inner, Mapping):
        return _function(inner.get("activation"))
    numbers = counting(name, inner, None) if isinstance(inner, Mapping) else {}
    words = ", ".join(f"{field}={shown(value)}" for field, value in sorted(numbers.items()))
    return f"{name}({words})" if words else name


def _code(raw: Any) -> Any:
    """The code of a Lambda by its hash, a function by its name."""
    if isinstance(raw, str):
        return f"function {raw.rpartition('>')[2]}"
    code: Any = raw
    if isinstance(raw, Mapping):
        inner = raw.get("config")
        if isinstance(inner, str):
            return f"function {inner}"
        code = inner.get("code") if isinstance(inner, Mapping) else None
    elif isinstance(raw, (list, tuple)) and raw:
        code = raw[0]
    if not isinstance(code, str):
        return _UNKNOWN
    return f"code {hashlib.sha256(''.join(code.split()).encode(errors='replace')).hexdigest()[:12]}"


def shown(value: Any, limit: int = 60) -> str:
    """A value for people, shortened: `same`, `1 x 2`, `0.00392157`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and 0 < len(value) <= 4 and all(type(item) is int for item in value):
        return " x ".join(map(str, value))
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
