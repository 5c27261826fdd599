"""Snappy, as far as its bytes make sense."""

from __future__ import annotations

import cramjam
from hypothesis import given
from hypothesis import strategies as st

from ckptui.readers.snappy import unpack_prefix
from ckptui.readers.wire import uvarint

repetitive = st.lists(st.sampled_from([b"abc", b"x" * 70, b"\0" * 300, b"layer_", b"q"]), max_size=60).map(b"".join)


@given(st.one_of(st.binary(max_size=500), repetitive), st.binary(max_size=8))
def test_it_unpacks_what_the_fast_decoder_packs_and_finds_the_end(data: bytes, tail: bytes) -> None:
    packed = bytes(cramjam.snappy.compress_raw(data))
    declared, start = uvarint(packed, 0)
    found = unpack_prefix(packed + tail, start, declared)
    assert found.data == data
    assert found.whole
    assert found.end == len(packed)


@given(repetitive, st.data())
def test_cut_bytes_give_a_true_prefix(data: bytes, draw: st.DataObject) -> None:
    packed = bytes(cramjam.snappy.compress_raw(data))
    declared, start = uvarint(packed, 0)
    found = unpack_prefix(packed[: draw.draw(st.integers(start, len(packed)))], start, declared)
    assert data.startswith(found.data)
    assert found.whole == (found.data == data)


@given(st.binary(max_size=200), st.integers(0, 1000))
def test_garbage_gives_no_more_than_declared(packed: bytes, declared: int) -> None:
    found = unpack_prefix(packed, 0, declared)
    assert len(found.data) <= declared
    assert found.end <= len(packed)


def test_copies_reach_only_into_what_is_there() -> None:
    assert unpack_prefix(b"\x01\x00", 0, 10).data == b""
    assert unpack_prefix(b"\x00a\x05\x05", 0, 10).data == b"a"
