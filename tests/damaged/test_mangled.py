"""Copies that take binary files for text: told by counting, taken back where that is possible, no false alarms."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from ckptui.readers.mangled import (
    Counts,
    all_crlf,
    count,
    seven_bit,
    text_mode,
    undo,
    undo_utf8,
    verdict,
)
from tests.places import CORPUS, SAMPLES, needs_corpus


def floats(count_: int = 16_384, seed: int = 7) -> bytes:
    """Little-endian float32 weights, as a shard holds them."""
    rng = random.Random(seed)
    return b"".join(struct.pack("<f", rng.gauss(0, 0.05)) for _ in range(count_))


WEIGHTS = floats()


def test_counts_are_of_the_whole_sample() -> None:
    counts = count(b"\x00a\nb\r\nc\rd\xff\r\n")
    assert counts == Counts(
        size=12, bare_lf=1, crlf=2, bare_cr=1, high=1, controls=1, letters=0, replaced=0, wide=0, valid_utf8=False
    )
    assert count(b"\nx", before=b"\r").crlf == 1


def test_weights_as_they_are_give_no_verdict() -> None:
    assert text_mode(WEIGHTS) is None
    assert not seven_bit(count(WEIGHTS))


def test_a_text_mode_copy_is_told_and_taken_back() -> None:
    mangled = WEIGHTS.replace(b"\n", b"\r\n")
    assert text_mode(mangled) == "crlf"
    assert all_crlf(mangled) == len(mangled) - len(WEIGHTS) == WEIGHTS.count(b"\n") > 100
    assert not all_crlf(WEIGHTS)
    assert undo("crlf", mangled) == WEIGHTS, "a CRLF of the original became CR CR LF"


def test_line_ends_taken_away_need_megabytes_to_be_told() -> None:
    large = random.Random(3).randbytes(2 << 20)
    assert text_mode(large) is None
    assert text_mode(large.replace(b"\r\n", b"\n")) == "lf"
    assert text_mode(large[:65_536].replace(b"\r\n", b"\n")) is None
    assert undo("lf", large) is None


def test_stripped_bits_are_told_where_numbers_should_be() -> None:
    stripped = bytes(byte & 0x7F for byte in WEIGHTS)
    assert seven_bit(count(stripped))
    assert not seven_bit(count(b"only words here\n" * 100))


def test_bytes_written_as_utf8_are_told_and_taken_back() -> None:
    mangled = WEIGHTS.decode("latin-1").encode("utf-8")
    assert text_mode(mangled) == "utf-8"
    assert undo_utf8(mangled) == WEIGHTS
    assert text_mode(mangled[1:-1]) == "utf-8", "a sample may begin and end inside a character"


def test_bytes_decoded_with_replacement_are_lost() -> None:
    mangled = WEIGHTS.decode("utf-8", "replace").encode("utf-8")
    assert b"\xef\xbf\xbd" in mangled
    assert text_mode(mangled) == "utf-8-replaced"
    assert undo("utf-8-replaced", mangled) is None


@pytest.mark.parametrize("words", [b"line\r\n" * 500, "Größe: 3 µm\n".encode() * 200, b"{\n  'a': 1\n}\n" * 9000, b""])
def test_text_is_no_mangled_binary(words: bytes) -> None:
    assert text_mode(words) is None


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_and_counters_are_no_mangled_copies(seed: int) -> None:
    rng = random.Random(seed)
    assert text_mode(rng.randbytes(1 << 18)) is None
    assert text_mode(struct.pack("<4096q", *(rng.randrange(1 << 20) for _ in range(4096)))) is None


def test_no_healthy_sample_is_taken_for_a_mangled_copy() -> None:
    wrong, looked = [], 0
    for path in SAMPLES.rglob("*"):
        if (path.is_file() and path.suffix in (".h5", ".keras", ".index")) or ".data-" in path.name:
            looked += 1
            kind = verdict(count(path.read_bytes()))
            wrong += [(path.name, kind)] if kind else []
    assert looked > 10
    assert wrong == []


@needs_corpus
def test_no_healthy_shard_of_the_corpus_is_taken_for_a_mangled_copy() -> None:
    wrong: list[tuple[str, str]] = []
    shards = [path for path in Path(CORPUS).rglob("*.data-*-of-*") if path.stat().st_size]
    for path in shards:
        with path.open("rb") as file:
            kind = verdict(count(file.read(1 << 20)))
        wrong += [(str(path), kind)] if kind else []
    print(f"{len(shards)} shards looked at")
    assert wrong == []
