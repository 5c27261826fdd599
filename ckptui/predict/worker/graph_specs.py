"""What nodes that parse Examples or decode images say of the strings they take.

Operations: tensorflow/core/api_def/base_api (ParseExample, ParseExampleV2, ParseSingleExample, Decode...).
"""

from __future__ import annotations

from typing import Any, Callable

UNREAD = frozenset({"ParseSequenceExample", "ParseSingleSequenceExample"})
"""Parsers whose spec is not read: what they take is told as of kind `sequence`."""
SEQUENCES = "ParseSequenceExampleV2"
PARSERS = frozenset({"ParseExample", "ParseExampleV2", "ParseSingleExample", SEQUENCES}) | UNREAD
DECODERS = frozenset(
    {"DecodeJpeg", "DecodePng", "DecodeImage", "DecodeBmp", "DecodeGif", "DecodeWebP", "DecodeAndCropJpeg"}
)
MOST_KEYS = 10_000


def decoder_channels(node: Any) -> int | None:
    """Channels a decoder gives (0: as many as the file has); None for any other node."""
    if node.op not in DECODERS:
        return None
    return int(node.attr["channels"].i) if "channels" in node.attr else 3


def parser_specs(node: Any, constant: Callable[[str], Any]) -> list[dict[str, Any]]:
    """`{"key", "dtype", "shape", "kind", "required"}` of every feature a parser takes.

    `constant` gives the node that an input comes from. Keys that are computed can't be told and are left out.
    What a SequenceExample has a step each is marked `sequence`.
    """
    if node.op == SEQUENCES:
        return sequence_specs(node, constant)
    if node.op in UNREAD:
        return [{"key": node.op, "dtype": "string", "shape": [], "kind": "sequence", "required": True}]
    if node.op == "ParseSingleExample":
        lists = {kind: [text(key) for key in node.attr[kind + "_keys"].list.s] for kind in ("sparse", "dense")}
        lists["ragged"] = []
        defaults = [str(name) for name in node.input[1:]]
    elif node.op == "ParseExampleV2":
        lists = {
            kind: keys_of(constant(str(node.input[2 + n]))) for n, kind in enumerate(("sparse", "dense", "ragged"))
        }
        defaults = [str(name) for name in node.input[5:]]
    else:
        sparse, dense = int(node.attr["Nsparse"].i), int(node.attr["Ndense"].i)
        singles = [(keys_of(constant(str(name))) or [""])[0] for name in node.input[2 : 2 + sparse + dense]]
        lists = {"sparse": singles[:sparse], "dense": singles[sparse:], "ragged": []}
        defaults = [str(name) for name in node.input[2 + sparse + dense :]]
    found = []
    types = {"sparse": "sparse_types", "dense": "Tdense", "ragged": "ragged_value_types"}
    for kind in ("dense", "sparse", "ragged"):
        dtypes = list(node.attr[types[kind]].list.type)
        shapes = list(node.attr["dense_shapes"].list.shape) if kind == "dense" else []
        for place, key in enumerate(lists[kind][:MOST_KEYS]):
            if not key:
                continue
            shape = extents(shapes[place]) if place < len(shapes) else ([] if kind == "dense" else [None])
            needed = kind == "dense" and not has_default(constant(defaults[place]) if place < len(defaults) else None)
            variable = kind == "dense" and bool(shape) and shape[0] is None
            found.append(
                {
                    "key": key,
                    "dtype": dtype_name(dtypes[place]) if place < len(dtypes) else "",
                    "shape": shape,
                    "kind": kind,
                    "required": needed and not variable,
                }
            )
    return found


def sequence_specs(node: Any, constant: Callable[[str], Any]) -> list[dict[str, Any]]:
    """The context and the feature lists that ParseSequenceExampleV2 takes."""
    found = []
    empty = booleans_of(constant(str(node.input[8])))
    defaults = [str(name) for name in node.input[9:]]
    places = (
        ("context_dense", 3, "Tcontext_dense"),
        ("context_sparse", 2, "context_sparse_types"),
        ("context_ragged", 4, "context_ragged_value_types"),
        ("feature_list_dense", 6, "feature_list_dense_types"),
        ("feature_list_sparse", 5, "feature_list_sparse_types"),
        ("feature_list_ragged", 7, "feature_list_ragged_value_types"),
    )
    for name, at, types in places:
        steps, dense = name.startswith("feature_list"), name.endswith("dense")
        dtypes = list(node.attr[types].list.type)
        shapes = list(node.attr[name + "_shapes"].list.shape) if dense else []
        for place, key in enumerate(keys_of(constant(str(node.input[at])))[:MOST_KEYS]):
            needed = dense and not (place < len(empty) and empty[place])
            if not steps:
                needed = dense and not has_default(constant(defaults[place]) if place < len(defaults) else None)
            entry = {
                "key": key,
                "dtype": dtype_name(dtypes[place]) if place < len(dtypes) else "",
                "shape": extents(shapes[place]) if place < len(shapes) else [None],
                "kind": name.rsplit("_", 1)[1],
                "required": needed,
            }
            found.append(dict(entry, sequence=True) if steps else entry)
    return found


def booleans_of(node: Any) -> list[bool]:
    """The values of a constant vector of booleans."""
    if node is None or node.op != "Const":
        return []
    import tensorflow

    return [bool(value) for value in tensorflow.make_ndarray(node.attr["value"].tensor).reshape(-1)]


def keys_of(node: Any) -> list[str]:
    """The strings of a constant node."""
    if node is None or node.op != "Const":
        return []
    import tensorflow

    values = tensorflow.make_ndarray(node.attr["value"].tensor)
    return [text(value) for value in values.reshape(-1).tolist()]


def has_default(node: Any) -> bool:
    """The default of a dense feature holds something: an empty one means that the feature must be there."""
    if node is None:
        return False
    if node.op != "Const":
        return True
    shape = node.attr["value"].tensor.tensor_shape
    return all(int(extent.size) != 0 for extent in shape.dim)


def extents(shape: Any) -> list[int | None]:
    """A TensorShapeProto as a list."""
    return [] if shape.unknown_rank else [None if d.size < 0 else int(d.size) for d in shape.dim]


def dtype_name(number: Any) -> str:
    """`float32` from a DataType."""
    import tensorflow

    return str(tensorflow.as_dtype(number).name)


def text(value: Any) -> str:
    """A key as a string."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
