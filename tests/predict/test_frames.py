"""Frames: what goes in comes out, and nothing that contradicts itself is believed."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptui.predict.worker import frames

DTYPES = sorted(frames.PLAIN) + sorted(frames.EXTENDED)


def frame(doc: dict[str, Any], arrays: Any = ()) -> bytes:
    return b"".join(bytes(piece) for piece in frames.encode(doc, arrays))


def taken(data: bytes) -> tuple[dict[str, Any], list[Any]] | None:
    buffer = frames.FrameBuffer()
    buffer.feed(data)
    return buffer.take()


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_every_dtype_and_shape_comes_back_bit_for_bit(name: str, shape: tuple[int, ...]) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name)) if name in frames.EXTENDED else np.dtype(name)
    sent = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    back = taken(frame({"id": 1}, [sent]))
    assert back is not None
    assert back[0] == {"id": 1}
    assert back[1][0].dtype == dtype
    assert back[1][0].shape == shape
    assert back[1][0].tobytes() == sent.tobytes()


def test_arrays_that_are_not_contiguous_or_not_native_arrive_as_their_values() -> None:
    flipped = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::-1]
    foreign = np.arange(5, dtype=">i4")
    back = taken(frame({}, [flipped, foreign]))
    assert back is not None
    assert np.array_equal(back[1][0], flipped)
    assert np.array_equal(back[1][1], foreign)


def test_objects_and_text_are_not_sent() -> None:
    with pytest.raises(frames.FrameError, match="can't be sent"):
        frames.encode({}, [np.array(["text"])])
    with pytest.raises(frames.FrameError, match="can't be sent"):
        frames.encode({}, [np.array([object()])])


@given(st.lists(st.integers(1, 40), max_size=30))
def test_a_frame_may_arrive_in_any_pieces(sizes: list[int]) -> None:
    data = frame({"id": 7, "text": "Grüße"}, [np.arange(10)]) + frame({"id": 8})
    buffer, got, at = frames.FrameBuffer(), [], 0
    for size in [*sizes, len(data)]:
        buffer.feed(data[at : at + size])
        at += size
        while (one := buffer.take()) is not None:
            got.append(one[0]["id"])
    assert got == [7, 8]


def head(text: int, arrays: int) -> bytes:
    return frames.HEAD.pack(frames.MAGIC, text, arrays)


def described(arrays: str, body: bytes = b"") -> bytes:
    text = b'{"arrays": ' + arrays.encode() + b"}"
    return head(len(text), len(body)) + text + body


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"INFO: starting\n", "expected a frame"),
        (b"X", "expected a frame"),
        (b"ckW2" + bytes(20), "expected a frame"),
        (head(frames.MAX_JSON + 1, 0), "too large"),
        (head(2, frames.MAX_ARRAYS + 1), "too large"),
        (head(3, 0) + b"{x}", "no JSON"),
        (head(2, 0) + b"\xff\xfe", "no JSON"),
        (head(2, 0) + b"[]", "no document"),
        (head(2, 0) + b"{}", "no document"),
        (head(200_000, 0) + b"[" * 200_000, "no JSON"),
        (described('[["float32", [4]]]', bytes(8)), "8 bytes past"),
        (described('[["float32", [1]]]', bytes(8)), "belong to no array"),
        (described('[["float32", [1099511627775, 1099511627775]]]'), "past its message"),
        (described('[["float32", [-1]]]'), "not described"),
        (described('[["float32", [true]]]'), "not described"),
        (described('[["float32"]]'), "not described"),
        (described('[["object", [1]]]', bytes(8)), "no dtype"),
        (described('[["V8", [1]]]', bytes(8)), "no dtype"),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(frames.FrameError, match=words):
        taken(data)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_frame_error_or_nothing(data: bytes) -> None:
    for start in (b"", frames.MAGIC, head(len(data), 0)):
        try:
            taken(start + data)
        except frames.FrameError:
            continue


def test_any_flipped_byte_gives_a_frame_error_a_frame_or_waits() -> None:
    whole = bytearray(frame({"id": 3}, [np.arange(4)]))
    for at in range(len(whole)):
        whole[at] ^= 0x41
        with contextlib.suppress(frames.FrameError):
            taken(bytes(whole))
        whole[at] ^= 0x41


def test_a_pipe_carries_frames_larger_than_itself_and_ends_quietly() -> None:
    read, write = os.pipe()
    sent = np.random.default_rng(0).random(300_000)

    def writer() -> None:
        frames.write_frame(write, {"id": 1}, [sent])
        os.write(write, struct.pack("<4s", frames.MAGIC))
        os.close(write)

    thread = threading.Thread(target=writer)
    thread.start()
    got = frames.read_frame(read)
    assert got is not None
    assert np.array_equal(got[1][0], sent)
    assert frames.read_frame(read) is None
    thread.join()
    os.close(read)
