"""A protobuf writer of a few lines, and SavedModels made with it."""

from __future__ import annotations

from ckptui.readers.wire import encode_uvarint


def number(field: int, value: int) -> bytes:
    """A varint field; negative values as int64."""
    return encode_uvarint(field << 3) + encode_uvarint(value % (1 << 64))


def part(field: int, value: bytes | str) -> bytes:
    """A length-delimited field."""
    data = value.encode() if isinstance(value, str) else value
    return encode_uvarint(field << 3 | 2) + encode_uvarint(len(data)) + data


def entry(field: int, key: str, value: bytes) -> bytes:
    """One entry of a proto map."""
    return part(field, part(1, key) + part(2, value))


def shape(*sizes: int) -> bytes:
    """A TensorShapeProto; size 0 is not written, as protobuf does."""
    return b"".join(part(2, number(1, size) if size else b"") for size in sizes)


def tensor_info(name: str, dtype: int, *sizes: int) -> bytes:
    """A dense TensorInfo."""
    return part(1, name) + number(2, dtype) + part(3, shape(*sizes))


def node(name: str, op: str, *attributes: bytes) -> bytes:
    """A NodeDef."""
    return part(1, name) + part(2, op) + b"".join(attributes)


def graph(*nodes: bytes, functions: tuple[bytes, ...] = (), producer: int = 2474) -> bytes:
    """A GraphDef."""
    library = part(2, b"".join(part(1, function) for function in functions)) if functions else b""
    return b"".join(part(1, one) for one in nodes) + library + part(4, number(1, producer))


def function(name: str, *nodes: bytes) -> bytes:
    """A FunctionDef."""
    return part(1, part(1, name)) + b"".join(part(3, one) for one in nodes)


def meta_graph(
    graph_def: bytes = b"", *, tags: tuple[str, ...] = ("serve",), version: str = "2.21.0", rest: bytes = b""
) -> bytes:
    """A MetaGraphDef; `rest` are further fields."""
    info = b"".join(part(4, tag) for tag in tags) + part(5, version) + part(6, "v2.21.0-rc1")
    return part(1, info) + part(2, graph_def) + rest


def saved_model_proto(*graphs: bytes) -> bytes:
    """A SavedModel."""
    return number(1, 1) + b"".join(part(2, one) for one in graphs)


def signature(name: str, inputs: dict[str, bytes], outputs: dict[str, bytes], method: str = "predict") -> bytes:
    """A field of `MetaGraphDef.signature_def`."""
    body = b"".join(entry(1, key, value) for key, value in inputs.items())
    body += b"".join(entry(2, key, value) for key, value in outputs.items())
    return entry(5, name, body + part(3, method))
