"""What one standard Keras layer makes of its input shapes. Keras 1 spellings of options are understood too."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ckptui.readers.keras_config import Shape, as_shape, mapping

Config = Mapping[str, Any]
Shapes = Sequence[Shape]

_SAME = frozenset(
    [
        "Activation",
        "ActivityRegularization",
        "AlphaDropout",
        "BatchNormalization",
        "Dropout",
        "ELU",
        "GaussianDropout",
        "GaussianNoise",
        "GroupNormalization",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
        "LeakyReLU",
        "Masking",
        "Normalization",
        "PReLU",
        "RMSNormalization",
        "RandomBrightness",
        "RandomContrast",
        "RandomFlip",
        "RandomRotation",
        "RandomShear",
        "RandomTranslation",
        "RandomZoom",
        "ReLU",
        "Rescaling",
        "Softmax",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "SpectralNormalization",
        "SyncBatchNormalization",
        "ThresholdedReLU",
        "UnitNormalization",
    ]
)
_MERGES = frozenset(["Add", "Average", "Divide", "Maximum", "Minimum", "Multiply", "Subtract", "TrueDivide"])
_ELEMENTWISE_OPS = re.compile(r"cast|math\.(multiply|add|subtract|truediv|divide)|__operators__\.\w+|nn\.\w*elu")
_CONV = re.compile(r"(Depthwise|Separable)?Conv([123])D(Transpose)?")
_POOL = re.compile(r"(?:Max|Average)Pooling([123])D")
_GLOBAL_POOL = re.compile(r"Global(?:Max|Average)Pooling([123])D")
_SPATIAL = re.compile(r"(ZeroPadding|Cropping|UpSampling)([123])D")


def layer_outputs(class_name: str, config: Config, inputs: Sequence[Shape | None]) -> list[Shape | None]:
    """The shapes of a layer's outputs; `[None]` where they can't be told from the config."""
    known = [shape for shape in inputs if shape is not None]
    if not known or len(known) < len(inputs):
        return [None]
    try:
        result = _outputs(class_name, config, known)
    except (TypeError, ValueError, LookupError, ArithmeticError):
        return [None]
    if isinstance(result, list):
        return list(result)
    return [result]


def _outputs(class_name: str, config: Config, shapes: Shapes) -> Shape | list[Shape] | None:
    first = shapes[0]
    if class_name in _SAME:
        return first
    if class_name in _MERGES:
        return _broadcast(shapes)
    by_name = _BY_NAME.get(class_name)
    if by_name is not None:
        return by_name(config, shapes)
    for pattern, function in _BY_PATTERN:
        found = pattern.fullmatch(class_name)
        if found:
            return function(found, config, first)
    return None


def option(config: Config, *names: str, default: Any = None) -> Any:
    """The first of several spellings of an option that is there and not null."""
    for name in names:
        if config.get(name) is not None:
            return config[name]
    return default


def channels_first(config: Config) -> bool:
    """Whether axis 1, not the last, holds the channels."""
    return option(config, "data_format", "dim_ordering") in ("channels_first", "th")


def window(config: Config, rank: int) -> tuple[int, ...]:
    """A convolution's kernel size; raises ValueError where the config has none."""
    if "nb_row" in config and rank == 2:
        return int(config["nb_row"]), int(config["nb_col"])
    return _several(option(config, "kernel_size", "filter_length"), rank)


def _several(value: Any, rank: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * rank
    if isinstance(value, (list, tuple)) and len(value) == rank and all(isinstance(v, int) for v in value):
        return tuple(value)
    raise ValueError(f"{rank} integers expected")


def _parts(shape: Shape, config: Config, rank: int) -> tuple[tuple[int | None, ...], int | None]:
    """The spatial axes and the channels of an input; raises ValueError for another rank."""
    if len(shape) != rank + 2:
        raise ValueError("rank")
    return (shape[2:], shape[1]) if channels_first(config) else (shape[1:-1], shape[-1])


def _joined(shape: Shape, config: Config, space: Sequence[int | None], channels: int | None) -> Shape:
    return (shape[0], channels, *space) if channels_first(config) else (shape[0], *space, channels)


def _slide(size: int | None, kernel: int, stride: int, padding: str, dilation: int = 1) -> int | None:
    if size is None:
        return None
    if padding in ("same", "causal"):
        return -(-size // stride)
    return max(0, (size - (kernel - 1) * dilation - 1) // stride + 1)


def _padding(config: Config) -> str:
    return str(option(config, "padding", "border_mode", default="valid"))


def _conv(found: re.Match[str], config: Config, shape: Shape) -> Shape:
    rank = int(found[2])
    space, channels = _parts(shape, config, rank)
    kernel = window(config, rank)
    strides = _several(option(config, "strides", "subsample", "subsample_length", default=1), rank)
    if found[3]:
        space = _transposed(space, kernel, strides, config)
    else:
        dilation = _several(option(config, "dilation_rate", default=1), rank)
        sizes = zip(space, kernel, strides, dilation, strict=True)
        space = tuple(_slide(d, k, s, _padding(config), r) for d, k, s, r in sizes)
    if found[1] == "Depthwise":
        filters = None if channels is None else channels * int(option(config, "depth_multiplier", default=1))
    else:
        filters = int(option(config, "filters", "nb_filter"))
    return _joined(shape, config, space, filters)


def _transposed(
    space: Sequence[int | None], kernel: Sequence[int], strides: Sequence[int], config: Config
) -> tuple[int | None, ...]:
    if config.get("output_padding") is not None:
        raise ValueError("output_padding")
    if _padding(config) == "same":
        return tuple(None if d is None else d * s for d, s in zip(space, strides, strict=True))
    sizes = zip(space, kernel, strides, strict=True)
    return tuple(None if d is None else d * s + max(k - s, 0) for d, k, s in sizes)


def _pool(found: re.Match[str], config: Config, shape: Shape) -> Shape:
    rank = int(found[1])
    space, channels = _parts(shape, config, rank)
    size = _several(option(config, "pool_size", "pool_length", default=2), rank)
    strides = _several(option(config, "strides", "stride", default=size), rank)
    sizes = zip(space, size, strides, strict=True)
    out = tuple(_slide(d, k, s, _padding(config)) for d, k, s in sizes)
    return _joined(shape, config, out, channels)


def _global_pool(found: re.Match[str], config: Config, shape: Shape) -> Shape:
    rank = int(found[1])
    _, channels = _parts(shape, config, rank)
    if config.get("keepdims"):
        return _joined(shape, config, (1,) * rank, channels)
    return (shape[0], channels)


def _spatial(found: re.Match[str], config: Config, shape: Shape) -> Shape:
    rank = int(found[2])
    space, channels = _parts(shape, config, rank)
    if found[1] == "UpSampling":
        factors = _several(option(config, "size", "length", default=2), rank)
        out = tuple(None if d is None else d * f for d, f in zip(space, factors, strict=True))
        return _joined(shape, config, out, channels)
    sign = 1 if found[1] == "ZeroPadding" else -1
    amounts = _pairs(option(config, "padding" if sign > 0 else "cropping", default=1), rank)
    out = tuple(None if d is None else d + sign * a for d, a in zip(space, amounts, strict=True))
    return _joined(shape, config, out, channels)


def _pairs(value: Any, rank: int) -> tuple[int, ...]:
    """Both sides together, for `1`, `(1, 2)` and `((1, 1), (2, 2))`."""
    if isinstance(value, int):
        return (2 * value,) * rank
    if rank == 1:
        return (sum(_several(value, 2)),)
    return tuple(2 * v if isinstance(v, int) else sum(_several(v, 2)) for v in value)


def _broadcast(shapes: Shapes) -> Shape | None:
    rank = max(len(s) for s in shapes)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    out: list[int | None] = []
    for sizes in zip(*padded, strict=True):
        named = {s for s in sizes if s not in (None, 1)}
        if len(named) > 1:
            return None
        out.append(named.pop() if named else None if None in sizes else 1)
    return tuple(out)


def _concatenate(config: Config, shapes: Shapes) -> Shape | None:
    rank = len(shapes[0])
    axis = int(option(config, "axis", "concat_axis", default=-1)) % rank
    if any(len(s) != rank for s in shapes):
        return None
    sizes = [s[axis] for s in shapes]
    whole = None if None in sizes else sum(s for s in sizes if s is not None)
    return (*shapes[0][:axis], whole, *shapes[0][axis + 1 :])


def _flatten(config: Config, shapes: Shapes) -> Shape:
    shape = shapes[0]
    return (shape[0], None if None in shape[1:] else math.prod(d for d in shape[1:] if d is not None))


def _reshape(config: Config, shapes: Shapes) -> Shape | None:
    target = [int(d) for d in config["target_shape"]]
    if target.count(-1) > 1:
        return None
    if -1 in target:
        rest = math.prod(d for d in target if d != -1)
        total = _flatten(config, shapes)[1]
        at = target.index(-1)
        size = None if total is None or rest == 0 else total // rest
        return (shapes[0][0], *target[:at], size, *target[at + 1 :])
    return (shapes[0][0], *target)


def _permute(config: Config, shapes: Shapes) -> Shape:
    shape = shapes[0]
    return (shape[0], *(shape[int(d)] for d in config["dims"]))


def _repeat(config: Config, shapes: Shapes) -> Shape:
    return (shapes[0][0], int(config["n"]), *shapes[0][1:])


def _dense(config: Config, shapes: Shapes) -> Shape:
    return (*shapes[0][:-1], int(option(config, "units", "output_dim")))


def _embedding(config: Config, shapes: Shapes) -> Shape:
    return (*shapes[0], int(config["output_dim"]))


def _recurrent(config: Config, shapes: Shapes) -> Shape | list[Shape] | None:
    batch, time = shapes[0][0], shapes[0][1]
    units = int(option(config, "units", "output_dim"))
    if config.get("return_state"):
        return None
    return (batch, time, units) if config.get("return_sequences") else (batch, units)


def _attention(config: Config, shapes: Shapes) -> Shape | None:
    query = shapes[0]
    wanted = as_shape(config.get("output_shape"))
    if wanted is not None:
        return (*query[:-1], *wanted)
    return query


def _dot_attention(config: Config, shapes: Shapes) -> Shape | None:
    return (*shapes[0][:-1], shapes[1][-1]) if len(shapes) > 1 else None


def _resized(config: Config, shapes: Shapes) -> Shape:
    space = (int(config["height"]), int(config["width"]))
    _, channels = _parts(shapes[0], config, 2)
    return _joined(shapes[0], config, space, channels)


def _tf_op(config: Config, shapes: Shapes) -> Shape | None:
    function = mapping(config).get("function")
    known = isinstance(function, str) and _ELEMENTWISE_OPS.fullmatch(function)
    return _broadcast(shapes) if known else None


_BY_NAME: dict[str, Callable[[Config, Shapes], Shape | list[Shape] | None]] = {
    "AdditiveAttention": _dot_attention,
    "Attention": _dot_attention,
    "CenterCrop": _resized,
    "Concatenate": _concatenate,
    "CuDNNGRU": _recurrent,
    "CuDNNLSTM": _recurrent,
    "Dense": _dense,
    "Embedding": _embedding,
    "Flatten": _flatten,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "MultiHeadAttention": _attention,
    "Permute": _permute,
    "RandomCrop": _resized,
    "RepeatVector": _repeat,
    "Reshape": _reshape,
    "Resizing": _resized,
    "SimpleRNN": _recurrent,
    "TFOpLambda": _tf_op,
}
_BY_PATTERN: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], Config, Shape], Shape]], ...] = (
    (_CONV, _conv),
    (_POOL, _pool),
    (_GLOBAL_POOL, _global_pool),
    (_SPATIAL, _spatial),
)
