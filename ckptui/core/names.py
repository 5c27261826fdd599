"""What a name tells: role, layer, step. Names are TF1's, TF2 object paths, Keras and HDF5 paths.

Every rule is on names, dtype and shape alone; where an object graph or a config says more, that goes first.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from ckptui.core.dtypes import is_complex, is_float
from ckptui.core.model import Role

OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The bundle key TensorFlow 2 stores its object graph under."""

WEIGHT_ROLES: frozenset[str] = frozenset(
    {"kernel", "bias", "gamma", "beta", "moving-mean", "moving-variance", "embedding"}
)
"""Roles that are a model's weights whatever their dtype."""

_BY_LAST: dict[str, Role] = {
    "kernel": "kernel",
    "_kernel": "kernel",
    "depthwise_kernel": "kernel",
    "pointwise_kernel": "kernel",
    "recurrent_kernel": "kernel",
    "depthwise_weights": "kernel",
    "pointwise_weights": "kernel",
    "weights": "kernel",
    "weight": "kernel",
    "w": "kernel",
    "bias": "bias",
    "biases": "bias",
    "recurrent_bias": "bias",
    "b": "bias",
    "gamma": "gamma",
    "scale": "gamma",
    "beta": "beta",
    "offset": "beta",
    "moving_mean": "moving-mean",
    "moving_variance": "moving-variance",
    "embeddings": "embedding",
    "embedding": "embedding",
    "_embeddings": "embedding",
    "word_embeddings": "embedding",
    "embedding_weights": "embedding",
    "global_step": "step",
    "step": "step",
    "save_counter": "counter",
    "iteration": "counter",
    "iterations": "counter",
    "_iterations": "counter",
    "iter": "counter",
    "learning_rate": "counter",
    "_learning_rate": "counter",
    "current_learning_rate": "counter",
    "beta_1": "counter",
    "beta_2": "counter",
    "beta1_power": "counter",
    "beta2_power": "counter",
    "decay": "counter",
    "rho": "counter",
    "momentum": "counter",
    "current_loss_scale": "counter",
    "good_steps": "counter",
    "step_counter": "counter",
    "dynamic_scale": "counter",
    "seed_generator_state": "rng-state",
    "_rng_state": "rng-state",
    "_state_var": "rng-state",
}
_SCALARS = frozenset({"counter", "step"})
_OF_OPTIMIZERS = frozenset({"slot", "counter", "step"})
_SCALAR_METRICS = frozenset({"total", "count"})
_METRICS = frozenset(
    {
        "true_positives",
        "true_negatives",
        "false_positives",
        "false_negatives",
        "total_cm",
        "total_confusion_matrix",
        "intermediate_sums",
    }
)
_SLOT_LAST = re.compile(
    r"(Adam|AdamW|AdamWeightDecay|Adamax|Nadam|Lion|LAMB|Momentum|RMSProp|Adagrad|AdagradDA|Adadelta|Ftrl|Lamb|LARS"
    r"|ExponentialMovingAverage|ProximalAdagrad|AddSign|PowerSign)(_[0-9]+)?"
)
_OPTIMIZER_NAMES = (
    r"adam|adamw|adamax|nadam|sgd|rmsprop|adagrad|adadelta|ftrl|lion|lamb|adafactor|muon|loss_scale_optimizer"
)
_SLOT_WORDS = (
    r"m|v|vhat|momentum|momentums|velocity|velocities|rms|mean_square|mean_gradient|mg|accumulator|accumulators"
    r"|accum_var|accum_grad|accum_delta_var|linear|accumulated_grad|accumulated_delta_var|average_gradient"
)
_SLOT_PATH = re.compile(rf"(?i:{_OPTIMIZER_NAMES})(_[0-9]+)?/(?:(?:{_SLOT_WORDS})/.+|.+[/_](?:{_SLOT_WORDS}))")
_OPTIMIZER_INITIALS = frozenset("anslrfmANSLRFM")
_OPTIMIZER_PART = re.compile(rf"(?:^|/)(?:_?optimizer(?:_weights|_[0-9]+)?|(?i:{_OPTIMIZER_NAMES})(?:_[0-9]+)?)/")
_OPTIMIZER_HINTS = ("optim", "ada", "sgd", "rms", "ftrl", "lion", "lamb", "muon", "loss_s")
"""One of these is in every name of `_OPTIMIZER_PART`: looking for them first is ten times faster."""
_SEED = re.compile(r"seed_generator|random_generator|rng_state|_state_var")
_STATE = re.compile(r"(?:^|[/_])states?(?:[/_][0-9]+)*$")
"""What calls hand on: `lstm/rnn_state`, `keras_api/states/0`. It starts at zero, and nothing trains it."""
_LOOSE_KERNEL = re.compile(r"(?i:w|weights?|kernel|filters?)[_-]?.*|.*[_-](?i:w|weights?|kernel)")
_LOOSE_BIAS = re.compile(r"(?i:b|bias|biases)([_-].*|[0-9]*)|.*[_-](?i:b|bias|biases)")
_ATTRIBUTES = "/.ATTRIBUTES/"
_NUMBERED = re.compile(r"_[0-9]+$")
_LAYER_IN_LAST = re.compile(r"(?:[Wwb]|weights?|biases|bias)_(.+)")
_ROOTS = frozenset({"model_weights", "optimizer_weights", "model", "_functional", "vars"})


def clean(name: str) -> str:
    """The object or variable path inside a stored name: no `/.ATTRIBUTES/...` tail, no `:0`."""
    cut = name.find(_ATTRIBUTES)
    if cut >= 0:
        name = name[:cut]
    return name[:-2] if name.endswith(":0") else name


def role_of(name: str, dtype: str, shape: Sequence[int], full_name: str = "") -> Role:
    """What a tensor is for, by its stored name and, before that, the variable's own where known."""
    if name == OBJECT_GRAPH_KEY:
        return "object-graph"
    if "/.OPTIMIZER_SLOT/" in name:
        return "slot"
    stored = clean(name)
    path = clean(full_name) if full_name else stored
    role = _role_by_path(path, shape)
    if full_name and role is None:
        role = _role_by_path(stored, shape)
    if role == "metric" and dtype.startswith(("int", "uint")) and path.endswith("count"):
        # metrics count in floats; a Normalization counts what it adapted to
        return "counter"
    if role in _OF_OPTIMIZERS or role == "rng-state" or role == "metric":
        return role
    if not (full_name and role) and _in_optimizer(stored):
        return "slot" if shape else "counter"
    if role is None and (_STATE.search(path) or _STATE.search(stored)):
        return "other"
    return role or _role_by_shape(stored[stored.rfind("/") + 1 :], dtype, shape)


def is_weight(role: str, dtype: str) -> bool:
    """Whether a tensor of this role counts among a model's parameters."""
    return role in WEIGHT_ROLES or (role == "other" and (is_float(dtype) or is_complex(dtype)))


def is_weight_name(path: str) -> bool:
    """Whether a variable's own name ends like a weight's: `conv1/kernel`, but not `Adam/m` or `step`."""
    return _BY_LAST.get(path[path.rfind("/") + 1 :]) in WEIGHT_ROLES


@functools.lru_cache(1 << 13)
def layer_of(name: str, full_name: str = "") -> str:
    """The friendly layer name: `conv1` of `conv1/kernel`, `conv1/kernel/Adam_1` or `Adam/m/conv1/kernel`.

    Empty where the name holds none (`global_step`).
    """
    path = clean(full_name or name)
    if not full_name:
        slot = path.find("/.OPTIMIZER_SLOT")
        if slot >= 0:
            path = path[:slot]
    parts = path.split("/")
    if path[:1] in _OPTIMIZER_INITIALS and _SLOT_PATH.fullmatch(path):
        parts = _unslotted(parts)
    elif len(parts) > 1 and parts[-1][:1].isupper() and _SLOT_LAST.fullmatch(parts[-1]):
        parts.pop()
    while len(parts) > 1 and parts[0] in _ROOTS:
        parts.pop(0)
    last = parts.pop()
    if not parts:
        named = _LAYER_IN_LAST.fullmatch(last)
        return named[1] if named else ""
    if parts[-1] == "vars":
        parts.pop()
    if len(parts) > 1 and parts[0] == parts[1]:
        parts.pop(0)
    return "/".join(parts)


_EXTENSION = re.compile(r"(?i)(\.weights)?\.(index|hdf5|h5|keras|ckpt|tf|pb|meta)$")
_STEP_PATTERNS = (
    re.compile(r"([0-9]{1,18})"),
    re.compile(
        r"(?i)(?:.*[^a-z])?(?:epochs?|ep|steps?|iter|iteration|ckpt|cp|checkpoint)[-_.= ]?([0-9]{1,18})(?:[^0-9].*)?"
    ),
    re.compile(r".*[-_.]([0-9]{1,18})[-_][0-9]+\.[0-9]+.*"),
    re.compile(r".*(?:-|(?<![0-9])\.)([0-9]{1,18})"),
    re.compile(r".*_(0[0-9]{1,17}|[0-9]{3,18})"),
)


def step_of(label: str) -> int | None:
    """The training step, epoch or export version in a save's name; None where there is none.

    3000 of `ckpt-3000`, 10 of `model.ckpt-10`, 5 of `weights.05-0.56.hdf5`, 1700000000 of `1700000000`.
    """
    bare = _EXTENSION.sub("", label)
    for pattern in _STEP_PATTERNS:
        found = pattern.fullmatch(bare)
        if found:
            return int(found[1])
    return None


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """A sort key that puts `layer_2` before `layer_10`; digits of any length cost no big number."""
    pieces = re.split(r"([0-9]+)", name)
    return tuple((len(digits := piece.lstrip("0")), digits) if i % 2 else (0, piece) for i, piece in enumerate(pieces))


def _role_by_path(path: str, shape: Sequence[int]) -> Role | None:
    """The role a path ends in or contains, if it names one."""
    cut = path.rfind("/") + 1
    last = path[cut:]
    if cut:
        if shape and path[:1] in _OPTIMIZER_INITIALS and _SLOT_PATH.fullmatch(path):
            return "slot"
        if last[:1].isupper() and _SLOT_LAST.fullmatch(last):
            return "slot"
    role = _BY_LAST.get(last)
    if role is None or (shape and role in _SCALARS):
        if _SEED.search(path):
            return "rng-state"
        bare = _NUMBERED.sub("", last)
        role = _BY_LAST.get(bare)
        if bare in _METRICS:
            return "metric"
        if bare in _SCALAR_METRICS and (not shape or "metric" in path):
            return "metric"
    return None if shape and role in _SCALARS else role


def _in_optimizer(path: str) -> bool:
    """Whether the path leads through an optimizer, and not to the weights it refers to."""
    low = path.lower()
    for hint in _OPTIMIZER_HINTS:
        if hint in low:
            return _OPTIMIZER_PART.search(path) is not None and "_trainable_variables/" not in path
    return False


def _role_by_shape(last: str, dtype: str, shape: Sequence[int]) -> Role:
    if not is_float(dtype) and not dtype.endswith("int8"):
        return "other"
    if len(shape) >= 2:
        return "embedding" if "embedding" in last else "kernel"
    if len(shape) == 1 and _LOOSE_BIAS.fullmatch(last):
        return "bias"
    if len(shape) == 1 and _LOOSE_KERNEL.fullmatch(last):
        return "kernel"
    return "other"


def _unslotted(parts: list[str]) -> list[str]:
    """A variable's own path inside `adam/conv1_kernel_momentum`, `Adam/m/conv1/kernel`, `Adam/d1/bias/m`."""
    words = re.compile(_SLOT_WORDS)
    rest = parts[1:]
    if len(rest) > 1 and words.fullmatch(rest[0]):
        return rest[1:]
    if len(rest) > 1 and words.fullmatch(rest[-1]):
        return rest[:-1]
    joined = re.fullmatch(
        r"(.+?)_((?:depthwise_|pointwise_|recurrent_)?kernel|bias|gamma|beta|embeddings)_.+", rest[-1]
    )
    return [*rest[:-1], joined[1], joined[2]] if joined else parts
