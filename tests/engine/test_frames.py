"""Frames: what goes in comes out, in whatever pieces; what is out of bounds is refused before it is allocated."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.engine import frames
from ckptui.engine.frames import BadFrame, Decoder, Frame, encode, read_frame, write_frame

headers = st.dictionaries(
    st.text(max_size=5).filter(lambda k: k != "blobs"),
    st.one_of(st.integers(), st.text(), st.none()),
    max_size=4,
)


def wire(header: dict[str, Any], blobs: list[bytes] | None = None) -> bytes:
    return b"".join(bytes(piece) for piece in encode(header, blobs or []))


@given(
    st.lists(st.tuples(headers, st.lists(st.binary(max_size=50), max_size=4)), max_size=4),
    st.lists(st.integers(1, 40), min_size=1, max_size=10),
)
def test_any_cutting_of_the_stream_gives_the_frames_back(
    messages: list[tuple[dict[str, Any], list[bytes]]], cuts: list[int]
) -> None:
    data = b"".join(wire(header, blobs) for header, blobs in messages)
    decoder, found, place, turn = Decoder(), [], 0, 0
    while place < len(data):
        step = cuts[turn % len(cuts)]
        found += decoder.feed(data[place : place + step])
        place, turn = place + step, turn + 1
    assert [(dict(f.header), [bytes(b) for b in f.blobs]) for f in found] == messages
    assert decoder.idle


def test_a_frame_crosses_a_pipe_with_its_blobs() -> None:
    ends = os.pipe()
    write_frame(ends[1], {"id": 1, "name": "π \udcff"}, [b"abc", b"", memoryview(b"defg")])
    os.close(ends[1])
    frame = read_frame(ends[0])
    assert frame is not None
    assert frame.header == {"id": 1, "name": "π \udcff"}
    assert [bytes(b) for b in frame.blobs] == [b"abc", b"", b"defg"]
    assert read_frame(ends[0]) is None
    os.close(ends[0])


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<I", frames.HEADER_LIMIT + 1),
        struct.pack("<I", 0),
        struct.pack("<I", 4) + b"nope",
        struct.pack("<I", 2) + b"[]",
        struct.pack("<I", 100_000) + b"[" * 100_000,
        wire({"blobs": "many"}),
        wire({"blobs": [-1]}),
        wire({"blobs": [True]}),
        wire({"blobs": [1.5]}),
        wire({"blobs": [frames.BLOBS_LIMIT, 1]}),
        wire({"blobs": [1] * (frames.BLOB_COUNT_LIMIT + 1)}),
    ],
)
def test_what_is_out_of_bounds_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        Decoder().feed(data)


def test_a_promised_blob_allocates_nothing_before_it_arrives() -> None:
    decoder = Decoder()
    assert decoder.feed(wire({"blobs": [frames.BLOBS_LIMIT]})) == []
    assert not decoder.idle
    assert decoder.wanted <= 1 << 20


def test_too_large_a_message_is_not_sent() -> None:
    with pytest.raises(BadFrame):
        encode({}, [b""] * (frames.BLOB_COUNT_LIMIT + 1))


def test_a_header_is_plain_json() -> None:
    (piece,) = encode({"a": 1})
    assert json.loads(bytes(piece)[4:]) == {"a": 1}
    assert Frame({}).blobs == ()
