"""Digests as documents: what is written is read back, what is cut off or made up is refused in plain words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptui.core import digest_text
from ckptui.core.digest import (
    FEWEST_SAMPLES,
    MOST_SAMPLES,
    SAMPLE_BUDGET,
    Digest,
    TensorDigest,
    sample_places,
    samples_each,
)
from ckptui.core.digest_text import read_digest
from ckptui.core.model import ArchitectureRow, Artifact, Finding, Segment, Storage, Tensor
from ckptui.errors import UsageError
from ckptui.readers.digest_file import digest_or_none

HASH = "0123456789abcdef" * 4


def made(name: str = "conv1/kernel", samples: tuple[float | int, ...] = (1.5, math.nan, -math.inf)) -> Digest:
    storage = Storage("none", Segment("m.h5", 800, 12), 77)
    tensor = Tensor(name, "float32", (3,), 12, "conv1", "kernel", "conv1/kernel", storage, layer_class="Conv2D")
    return Digest(
        Artifact("/data/m.h5", "keras-h5", "m.h5", 3, 900, 1, 1, 3, 12.5, {"keras": "3.1"}, "warning"),
        (TensorDigest(tensor, HASH, 99, 1.5, 2, samples),),
        (
            ArchitectureRow(
                "conv1", "Conv2D", 0, (None, 4), 3, (name,), {"padding": "same"}, True, (("in", "x"), ("y",))
            ),
        ),
        (Finding("all-zero", "warning", "All zero", "m.h5", name, "likely", "d", {"count": 3}, "look"),),
    )


def text(digest: Digest) -> bytes:
    return json.dumps(digest.to_json()).encode()


@given(
    st.text() | st.just("\x1b]0;evil\x07"),
    st.lists(st.floats(width=32) | st.integers(-(2**63), 2**64 - 1), min_size=3, max_size=3),
)
def test_what_is_written_is_read_back(name: str, samples: list[float | int]) -> None:
    digest = made(name, tuple(samples))
    back = read_digest(text(digest))
    assert repr(back) == repr(digest), "NaN too"
    assert text(back) == text(digest)


def test_only_the_path_of_the_save_itself_is_absolute() -> None:
    base = made()
    tensor = Tensor("k", "float32", (1,), 4, storage=Storage("plain", Segment("/data/m.h5", 0, 4)))
    finding = Finding(
        "all-zero", "warning", "t", "/data/m.h5", evidence={"file": "/data/sub/x", "deep": [{"f": "/data/y"}]}
    )
    doc = Digest(base.artifact, (TensorDigest(tensor, HASH, 1),), (), (finding,)).to_json()
    assert doc["artifact"]["path"] == "/data/m.h5"
    assert doc["tensors"][0]["location"]["file"] == "m.h5"
    assert doc["findings"][0]["evidence"] == {"file": "sub/x", "deep": [{"f": "y"}]}
    absolute = [line for line in json.dumps(doc, indent=0).splitlines() if '"/data' in line]
    assert absolute == ['"path": "/data/m.h5",', '"artifact": "/data/m.h5",']


# ---------------------------------------------------------------------- samples


@given(st.integers(0, 10**9) | st.integers(0, 2000) | st.just(2**70), st.sampled_from([16, 32, 64, 128, 256]))
def test_samples_are_even_and_fewer_are_a_part_of_more(count: int, most: int) -> None:
    if count > 2**62:
        return
    places = sample_places(count, most)
    assert places.size == min(count, most)
    assert np.all(np.diff(places) > 0)
    assert not places.size or (places[0] >= 0 and places[-1] < count)
    if count > MOST_SAMPLES:
        assert np.isin(places, sample_places(count, MOST_SAMPLES)).all()
        assert np.diff(places).max(initial=0) <= 2 * -(-count // most) + 1


def test_samples_of_a_kernel_meet_all_of_its_channels() -> None:
    """A fixed stride over 3 x 3 x 64 x 64 values would look at four of the 64 output channels."""
    places = sample_places(3 * 3 * 64 * 64, 256)
    assert len(set((places % 64).tolist())) > 50
    assert len(set((places // 64 % 64).tolist())) > 50


def test_all_samples_together_stay_within_a_budget() -> None:
    assert samples_each(1) == samples_each(4096) == MOST_SAMPLES
    assert samples_each(10_000) == 64
    assert samples_each(10**6) == FEWEST_SAMPLES
    assert all(samples_each(n) * n <= SAMPLE_BUDGET for n in (10, 5_000, 60_000))


# ---------------------------------------------------------------------- from strangers


def test_a_digest_cut_off_anywhere_is_refused_in_one_line() -> None:
    whole = text(made())
    told = 0
    for n in range(1, 50):
        with pytest.raises(UsageError) as refused:
            read_digest(whole[: len(whole) * n // 50], "a.json")
        assert str(refused.value).startswith("The digest is damaged: a.json: it breaks off"), str(refused.value)
        assert "\n" not in str(refused.value)
        told += 1
    print(f"{told} lengths of a cut digest: {told} refused")


def changed(path: str, value: Any) -> bytes:
    doc: Any = made().to_json()
    *way, last = path.split(".")
    at = doc
    for step in way:
        at = at[int(step)] if step.isdigit() else at[step]
    key = int(last) if last.isdigit() else last
    if value is ...:
        del at[key]
    else:
        at[key] = value
    return json.dumps(doc).encode()


BAD = [
    ("artifact", ...), ("artifact", []), ("artifact.kind", "pickle"), ("artifact.bytes", -1), ("artifact.bytes", 1.5),
    ("artifact.bytes", True), ("artifact.step", "3"), ("artifact.writer", "x"), ("artifact.modified", None),
    ("artifact.path", 3), ("artifact.status", "fine"), ("tensors", {}), ("tensors.0", 3), ("tensors.0.name", None),
    ("tensors.0.shape", 3), ("tensors.0.shape", [-1]), ("tensors.0.shape", [2.0]), ("tensors.0.shape", [1] * 65),
    ("tensors.0.shape", [2**80]), ("tensors.0.role", "root"), ("tensors.0.hash", HASH),
    ("tensors.0.hash", "sha256:" + HASH[1:]),
    ("tensors.0.hash", "md5:" + HASH), ("tensors.0.crc32c", 2**32), ("tensors.0.crc32c", "1"), ("tensors.0.l2", "big"),
    ("tensors.0.nonfinite", -3), ("tensors.0.samples", [1, 2, 3, 4]), ("tensors.0.samples", ["x", 1, 2]),
    ("tensors.0.samples", None), ("tensors.0.samples", [[1], 2, 3]), ("tensors.0.location", None),
    ("tensors.0.location.file", 4), ("tensors.0.problem", 1), ("architecture.0.config", 3),
    ("architecture.0.weights", [3]), ("architecture.0.trainable", 1), ("architecture.0.output_shape", ["x"]),
    ("architecture.0.inbound", ["x"]), ("findings.0.severity", "fatal"), ("findings.0.evidence", []),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), BAD, ids=[f"{p}-{str(v)[:12]}" for p, v in BAD])
def test_a_field_of_another_type_is_named(path: str, value: Any) -> None:
    with pytest.raises(UsageError) as refused:
        read_digest(changed(path, value), "a.json")
    assert refused.value.title == "The digest is damaged"
    assert path.split(".")[0] in refused.value.detail
    assert len(refused.value.detail) < 300


HOSTILE = {
    "deep": b'{"schema":"ckptui/digest/1","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a long number": b'{"schema":"ckptui/digest/1","artifact":' + b"9" * 1_000_000 + b"}",
    "not a number": b'{"schema":"ckptui/digest/1","artifact":NaN}',
    "no text": b'{"schema":"ckptui/digest/1","artifact":"\xff\xfe"}',
    "empty": b"",
    "a list": b"[1]",
    "a word": b'"ckptui/digest/1"',
    "other json": b'{"schema": 7}',
    "a schema that is no word": b'{"schema":["ckptui/digest/1"]}',
    "a pickle": b"\x80\x04\x95",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_documents_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_digest(HOSTILE[name], "a.json")
    assert refused.value.hint


def test_too_many_values_are_refused_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_text, "MAX_PARTS", 10)
    with pytest.raises(UsageError, match="more values"):
        read_digest(text(made()))
    monkeypatch.setattr(digest_text, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="more than a digest"):
        read_digest(text(made()))


def test_newer_and_other_documents_are_told_apart() -> None:
    with pytest.raises(UsageError) as newer:
        read_digest(text(made()).replace(b"digest/1", b"digest/2"))
    assert newer.value.title == "The digest was made by a newer ckptui"
    with pytest.raises(UsageError, match="a ckptui/show/1 document, no digest"):
        read_digest(text(made()).replace(b"digest/1", b"show/1"))


@settings(deadline=None)
@given(st.data())
def test_any_single_change_is_read_or_refused_cleanly(data: st.DataObject) -> None:
    whole = bytearray(text(made()))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = read_digest(bytes(whole))
    except UsageError:
        return
    assert json.dumps(read.to_json())


# ---------------------------------------------------------------------- files


def test_a_digest_is_known_by_its_content(tmp_path: Path) -> None:
    digest = made()
    for name, content in {
        "a.json": text(digest),
        "b.h5": b"\n  " + json.dumps(digest.to_json(), indent=2, sort_keys=True).encode(),
        "c": b"\xef\xbb\xbf" + text(digest),
        "d.txt": text(digest).decode().encode("utf-16"),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert repr(digest_or_none(str(tmp_path / name))) == repr(digest), name


def test_what_is_no_digest_is_left_to_others(tmp_path: Path) -> None:
    for name, content in {"e": b"", "f": b"\x89HDF", "g": b'{"weight_map": {}}', "h": b"[" * 99}.items():
        (tmp_path / name).write_bytes(content)
        assert digest_or_none(str(tmp_path / name)) is None
    assert digest_or_none(str(tmp_path)) is None
    assert digest_or_none(str(tmp_path / "absent")) is None
    assert digest_or_none("a\0b") is None
    (tmp_path / "cut.json").write_bytes(text(made())[:300])
    with pytest.raises(UsageError, match="breaks off"):
        digest_or_none(str(tmp_path / "cut.json"))


def test_a_document_that_says_one_thing_twice_is_refused() -> None:
    doc: Any = made().to_json()
    doc["tensors"] *= 2
    with pytest.raises(UsageError, match="'conv1/kernel' is there twice") as refused:
        read_digest(json.dumps(doc), "a.json")
    assert str(refused.value).startswith("The digest is damaged: a.json")
    whole = text(made()).decode()
    again = whole.replace('"hash":', '"hash": null, "hash":', 1)
    assert again != whole
    with pytest.raises(UsageError, match="'hash' is there twice"):
        read_digest(again, "a.json")
