"""Taking lost variables out of a serialized object graph.

`tf.train.Checkpoint.restore` asks for every key that the graph names, and fails on the first that is not there,
`expect_partial` or not. Messages: `TrackableObjectGraph` of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Collection

from ckptui.readers.wire import FIXED32, LENGTH, VARINT, Value, encode_uvarint, fields, text

_NODES, _ATTRIBUTES, _CHECKPOINT_KEY = 1, 2, 3


def without(graph: bytes, lost: Collection[str]) -> tuple[bytes, int]:
    """The graph without the attributes whose checkpoint key is in `lost`, and how many those were.

    Nodes keep their numbers. Raises WireError for what is no message.
    """
    out = bytearray()
    dropped = 0
    for number, kind, value in fields(graph):
        if number == _NODES and not isinstance(value, int):
            value, gone = _node(bytes(value), lost)
            dropped += gone
        out += _field(number, kind, value)
    return bytes(out), dropped


def _node(node: bytes, lost: Collection[str]) -> tuple[bytes, int]:
    out = bytearray()
    dropped = 0
    for number, kind, value in fields(node):
        if number == _ATTRIBUTES and not isinstance(value, int) and _key(bytes(value)) in lost:
            dropped += 1
        else:
            out += _field(number, kind, value)
    return bytes(out), dropped


def _key(attribute: bytes) -> str:
    return next((text(value) for number, _, value in fields(attribute) if number == _CHECKPOINT_KEY), "")


def _field(number: int, kind: int, value: Value) -> bytes:
    """One field, written again."""
    tag = encode_uvarint(number << 3 | kind)
    if kind == LENGTH and not isinstance(value, int):
        return tag + encode_uvarint(len(value)) + bytes(value)
    assert isinstance(value, int)
    return tag + (encode_uvarint(value) if kind == VARINT else value.to_bytes(4 if kind == FIXED32 else 8, "little"))
