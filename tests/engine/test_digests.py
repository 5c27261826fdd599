"""Saves hashed in children: one content, one hash, whatever the format; a diff through a digest as without one."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

from ckptui.core.digest import Digest, sample_places
from ckptui.core.digest_text import read_digest
from ckptui.core.model import DiffReport, Progress
from ckptui.errors import Cancelled
from ckptui.session import Session
from tests.places import CORPUS, SAMPLES, needs_corpus, needs_samples
from tests.readers.make_bundle import Tiled, write_bundle

SAVES = ("digits/ckpt-4", "digits/ckpt-5", "digits.keras", "digits.h5", "digits.weights.h5", "digits_saved_model",
         "estimator/model.ckpt-100")  # fmt: skip


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(cache=False) as made:
        yield made


def digest(session: Session, path: str | Path) -> Digest:
    *told, last = session.digest(session.open(str(path)))
    assert all(isinstance(item, Progress) for item in told)
    assert isinstance(last, Digest)
    return read_digest(json.dumps(last.to_json()))


def report(session: Session, a: Any, b: Any, pattern: str | None = None) -> DiffReport:
    last = list(session.diff(a, b, pattern=pattern))[-1]
    assert isinstance(last, DiffReport)
    return last


VALUES: dict[str, Any] = {
    "f32": np.random.default_rng(1).normal(size=(300, 7)).astype(np.float32),
    "f64": np.array([1.5, np.nan, -np.inf, 0.0, -0.0]),
    "bf16": np.arange(2000).astype(ml_dtypes.bfloat16),
    "i64": np.array([[-(2**63), 2**63 - 1]]),
    "u64": np.array([2**64 - 1], np.uint64),
    "bool": np.array([True, False, True]),
    "c64": np.array([1 + 2j, 3], np.complex64),
    "scalar": np.float32(3.25),
    "none": np.zeros((0, 4), np.float32),
}


def test_hashes_and_values_are_numpys(session: Session, tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "a", {**VALUES, "words": [b"x", b"", b"long" * 50]})
    made = {one.tensor.name: one for one in digest(session, path).tensors}
    for name, value in VALUES.items():
        array = np.asarray(value)
        flat = array.reshape(-1)
        assert made[name].hash == hashlib.sha256(array.tobytes()).hexdigest(), name
        if array.dtype.kind in "fV":
            wide = flat.astype(np.float64)
            finite = wide[np.isfinite(wide)]
            assert made[name].nonfinite == (wide.size - finite.size if wide.size else None)
            assert made[name].l2 == (pytest.approx(np.sqrt((finite**2).sum()), rel=1e-12) if wide.size else None)
        if array.dtype.kind != "c":
            kept = flat[sample_places(flat.size, 256)].astype(object if array.dtype.kind in "iu" else np.float64)
            np.testing.assert_array_equal(np.array(made[name].samples, kept.dtype), kept)
    joined = b"".join(len(item).to_bytes(8, "little") + item for item in (b"x", b"", b"long" * 50))
    assert made["words"].hash == hashlib.sha256(joined).hexdigest()
    assert made["words"].samples == ()


def test_one_content_has_one_hash_in_every_layout(session: Session, tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=(64, 96)).astype(np.float32)
    write_bundle(tmp_path / "plain", {"k": values})
    write_bundle(tmp_path / "tiled", {"k": Tiled(values, [[(0, 64), (0, 50)], [(0, 64), (50, 46)]])})
    write_bundle(tmp_path / "big", {"k": values}, big_endian=True)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["k"] = values
        file["big"] = values.astype(">f4")
        file.create_dataset("zipped", data=values, chunks=(10, 17), compression="gzip", shuffle=True)
    found = {
        (name, one.tensor.name): (one.hash, one.crc32c, one.samples)
        for name in ("plain", "tiled", "big", "a.h5")
        for one in digest(session, tmp_path / name).tensors
    }
    assert len(found) == 6
    assert len(set(found.values())) == 1


@needs_samples
def test_a_digest_is_the_same_for_the_same_save(session: Session, tmp_path: Path) -> None:
    for name in ("digits.keras", "digits.h5"):
        texts = []
        for _ in range(2):
            shutil.copy(SAMPLES / name, tmp_path / name)
            doc = digest(session, tmp_path / name).to_json()
            doc["artifact"].pop("modified")
            texts.append(json.dumps(doc))
        assert texts[0] == texts[1]
        assert texts[0].count(str(tmp_path)) == 1, "the path of the save"


@needs_samples
def test_a_diff_through_a_digest_says_what_a_direct_one_says(session: Session) -> None:
    listings = {name: session.open(str(SAMPLES / name)) for name in SAVES}
    digests = {name: digest(session, SAMPLES / name) for name in SAVES}
    pairs = verdicts = 0
    for a, b in itertools.permutations(SAVES, 2):
        if (SAVES.index(a) + SAVES.index(b)) % 2:
            continue
        direct = report(session, listings[a], listings[b])
        sides = [(digests[a], listings[b]), (listings[a], digests[b]), (digests[a], digests[b])]
        for one, other in sides:
            through = report(session, one, other)
            rows = [[(p.a, p.b, p.status, p.matched_by, p.count) for p in r.pairs] for r in (direct, through)]
            assert rows[0] == rows[1], (a, b)
            for p, q in zip(direct.pairs, through.pairs, strict=True):
                if q.relative_l2 is not None:
                    assert q.relative_l2 == pytest.approx(p.relative_l2, rel=1e-9)
            assert through.relation["verdict"] == direct.relation["verdict"], (a, b)
            assert through.relation["verdict"] in ("identical", "different-architecture") or (
                through.relation["certainty"] != "confirmed"
            )
            pairs += len(through.pairs)
            verdicts += 1
    print(f"{verdicts} diffs through digests: {pairs} pairs with the same status, {verdicts} same verdicts")


def test_how_far_apart_is_estimated_and_said_to_be(session: Session, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(size=(3, 3, 32, 64)).astype(np.float32)
    b = a + (0.05 * rng.normal(size=a.shape)).astype(np.float32)
    one_value = a.copy()
    one_value[0, 0, 0, 1] += 1
    for name, values in (("a", a), ("b", b), ("c", one_value)):
        write_bundle(tmp_path / name, {"conv/kernel": values, "step": np.int64(len(name))})
    left = digest(session, tmp_path / "a")
    said = report(session, left, session.open(str(tmp_path / "b")))
    pair = next(p for p in said.pairs if p.a == "conv/kernel")
    assert (pair.status, pair.relative_l2, pair.max_abs, pair.changed) == ("changed", None, None, None)
    assert pair.count == a.size
    percent = float(pair.detail.split()[1])
    truth = 100 * np.linalg.norm((b - a).astype(np.float64)) / np.linalg.norm(a.astype(np.float64))
    assert percent == pytest.approx(truth, rel=0.25)
    assert pair.detail.endswith("% apart, from 256 of 18,432 values")
    assert said.relation["verdict"] == "related"
    assert said.relation["certainty"] == "likely"
    assert said.relation["evidence"]["sampled"] == 256
    few = report(session, left, session.open(str(tmp_path / "c")))
    assert next(p.detail for p in few.pairs if p.a == "conv/kernel").startswith("few values changed")


def test_independent_trainings_are_told_from_samples(session: Session, tmp_path: Path) -> None:
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        kernels = {f"l{n}/kernel": rng.normal(size=(3, 3, 16, 16)).astype(np.float32) for n in range(6)}
        write_bundle(tmp_path / str(seed), kernels)
    said = report(session, digest(session, tmp_path / "1"), digest(session, tmp_path / "2"))
    assert (said.relation["verdict"], said.relation["certainty"]) == ("independent", "likely")


def test_damage_is_in_the_digest_and_a_diff_with_it(session: Session, tmp_path: Path) -> None:
    values = np.arange(5000, dtype=np.float32)
    path = write_bundle(tmp_path / "a", {"k": values, "l": values})
    write_bundle(tmp_path / "b", {"k": values, "l": values})
    shard = tmp_path / "a.data-00000-of-00001"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    made = digest(session, path)
    assert [f.code for f in made.findings] == ["checksum-mismatch"]
    assert made.artifact.status == "error"
    said = report(session, made, session.open(str(tmp_path / "b")))
    assert [p.status for p in said.pairs] == ["changed", "identical"]
    assert [f.code for f in said.findings] == ["checksum-mismatch"]
    shard.write_bytes(content[:30_000])
    cut = digest(session, path)
    assert [one.hash is None for one in cut.tensors] == [False, True]
    assert "unreadable" in {p.status for p in report(session, cut, session.open(str(tmp_path / "b"))).pairs}


def test_a_pattern_keeps_to_its_tensors(session: Session, tmp_path: Path) -> None:
    values = np.arange(100, dtype=np.float32)
    for name in "ab":
        write_bundle(tmp_path / name, {"x/kernel": values, "y/kernel": values + (name == "b")})
    sides = digest(session, tmp_path / "a"), session.open(str(tmp_path / "b"))
    assert [(p.a, p.status) for p in report(session, *sides, pattern="^y").pairs] == [("y/kernel", "changed")]


def test_a_digest_can_be_taken_back(session: Session, tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", {"k": np.zeros(10, np.float32)})
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        list(session.digest(session.open(str(tmp_path / "a")), cancel=cancel))


@needs_corpus
def test_digests_of_real_saves_are_small_and_read_back(session: Session) -> None:
    paths = [CORPUS / "mnist-cnn-keras/model.keras", CORPUS / "face-classification/mini_XCEPTION_KDEF.hdf5"]
    paths += sorted((CORPUS / "fer2013-sequence").glob("*.hdf5"))[:2]
    digests = [digest(session, path) for path in paths]
    assert all(one.hash for made in digests for one in made.tensors)
    sizes = [len(json.dumps(made.to_json())) for made in digests]
    assert max(sizes) < 2_000_000
    said = report(session, digests[2], digests[3])
    assert said.relation["verdict"] in ("related", "same-run", "fine-tuned")
    print(f"digests of {len(paths)} real saves: {', '.join(f'{size // 1000} KB' for size in sizes)}")
