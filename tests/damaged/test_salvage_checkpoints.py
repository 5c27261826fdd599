"""Checkpoints brought back from every kind of damage to index and data, TensorFlow reading what was written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.names import OBJECT_GRAPH_KEY
from ckptui.errors import UsageError
from ckptui.readers.bundle import open_bundle
from ckptui.session import Session
from tests.damaged.salvaging import flip, item, outcomes, planned, salvaged
from tests.places import SAMPLES, needs_samples
from tests.readers.make_bundle import Stored, Tiled, strings, variants_payload, write_bundle

Oracle = Callable[..., Any]
LONG = "layer_with_weights-{:05d}/a_rather_long_attribute_name_here/.ATTRIBUTES/VARIABLE_VALUE"
RANDOM = np.random.default_rng(0)


def array(values: Any, dtype: str = "float32") -> np.ndarray[Any, Any]:
    return np.array(values, dtype)


def weights(count: int = 12) -> dict[str, Any]:
    return {f"layer_{n}/kernel": RANDOM.normal(0, 0.1, (16, n + 3)).astype("f4") for n in range(count)}


@pytest.fixture(scope="module")
def trained(tensorflow: Oracle, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two checkpoints that TensorFlow saved of a model in training."""
    saves: list[str] = tensorflow("train", str(tmp_path_factory.mktemp("trained") / "run"))
    return saves


@pytest.fixture
def run(trained: list[str], tmp_path: Path) -> Path:
    """The folder of both, to be damaged."""
    return Path(shutil.copytree(Path(trained[0]).parent, tmp_path / "run"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "rescued"


def test_an_intact_checkpoint_comes_back_byte_for_byte(
    shared_session: Session, tensorflow: Oracle, trained: list[str], out: Path
) -> None:
    report = salvaged(shared_session, trained[1], out)
    assert set(outcomes(report).values()) == {"recovered"}
    assert report.plan.method == "index"
    assert tensorflow("read", str(out)) == tensorflow("read", trained[1])
    restored = tensorflow("restore", str(out), False)
    assert restored == tensorflow("restore", trained[1], False)
    assert Path(f"{out}.index").stat().st_size == Path(f"{trained[1]}.index").stat().st_size
    assert sorted(Path(f).name for f in report.files) == [
        "rescued.data-00000-of-00001", "rescued.index", "rescued.salvage.json",
    ]  # fmt: skip


def test_a_footer_of_zeros_costs_none_of_9001_entries(
    shared_session: Session, tensorflow: Oracle, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "run").mkdir()
    prefix = write_bundle(tmp_path / "run" / "ckpt-1", {LONG.format(n): array([n, -n], "int32") for n in range(9000)})
    index = Path(f"{prefix}.index")
    whole = index.read_bytes()
    index.write_bytes(whole[:-48] + bytes(48))
    report = salvaged(shared_session, prefix, out)
    assert report.plan.method == "walked-index"
    assert report.plan.summary == {
        "recovered": 9000, "repaired": 0, "repairable": 0, "unverified": 0, "lost": 0, "bytes": 72000,
    }  # fmt: skip
    assert len(open_bundle(str(out)).index.table.keys) == 9001
    assert len(tensorflow("read", str(out))) == 9000
    assert Path(f"{out}.data-00000-of-00001").read_bytes() == Path(f"{prefix}.data-00000-of-00001").read_bytes()


def test_a_bad_magic_number_costs_nothing(shared_session: Session, tensorflow: Oracle, run: Path, out: Path) -> None:
    index = run / "ckpt-2.index"
    flip(index, index.stat().st_size - 1, 3)
    report = salvaged(shared_session, run / "ckpt-2", out)
    assert set(outcomes(report).values()) == {"recovered"}
    assert tensorflow("restore", str(out), False)


def test_an_index_zeroed_after_1024_bytes(
    shared_session: Session, tensorflow: Oracle, tmp_path: Path, out: Path
) -> None:
    """Alone in its folder: the entries before the zeros come back, and what follows has no name."""
    (tmp_path / "alone").mkdir()
    names = {f"model/layer-{n:02d}/kernel/.ATTRIBUTES/VARIABLE_VALUE": array([n] * 5) for n in range(31)}
    prefix = write_bundle(tmp_path / "alone" / "ckpt-1", names)
    index = Path(f"{prefix}.index")
    whole = index.read_bytes()
    index.write_bytes(whole[:1024] + bytes(len(whole) - 1024))
    readable = [key for key, at in _entry_ends(whole) if at <= 1024 and key]
    assert 10 < len(readable) < 31
    report = salvaged(shared_session, prefix, out)
    recovered = {name for name, outcome in outcomes(report).items() if outcome == "recovered"}
    assert recovered == set(readable)
    assert report.plan.unnamed is None
    read = tensorflow("read", str(out))
    assert set(read) == recovered


def _entry_ends(index: bytes) -> list[tuple[str, int]]:
    """The names of the first block's entries and the byte after each, prefix compression undone."""
    found: list[tuple[str, int]] = []
    key, at = b"", 0
    while at < len(index):
        numbers = []
        for _ in range(3):
            value = shift = 0
            while True:
                value |= (index[at] & 127) << shift
                shift += 7
                at += 1
                if index[at - 1] < 128:
                    break
            numbers.append(value)
        shared, own, size = numbers
        if shared > len(key) or (found and not own):
            break
        key = key[:shared] + index[at : at + own]
        at += own + size
        found.append((key.decode("utf-8", "replace"), at))
        if len(found) == 32:
            break
    return found


def test_100_bytes_cut_off_the_index(shared_session: Session, tensorflow: Oracle, run: Path, out: Path) -> None:
    """Footer, index block, metaindex and the restart array are gone; no entry of the data block is."""
    index = run / "ckpt-2.index"
    whole = open_bundle(str(run / "ckpt-2")).names
    index.write_bytes(index.read_bytes()[:-100])
    report = salvaged(shared_session, run / "ckpt-2", out)
    found = {name for name, outcome in outcomes(report).items() if outcome == "recovered"}
    assert len(found) >= len(whole) - 1
    assert found <= set(whole)
    assert set(tensorflow("read", str(out))) == found | {n for n, o in outcomes(report).items() if o == "unverified"}


def test_entries_cut_off_come_from_a_sibling(shared_session: Session, tensorflow: Oracle, run: Path, out: Path) -> None:
    """Half an index and a sibling that agrees with it: the rest is laid out by the sibling."""
    index = run / "ckpt-2.index"
    whole = set(open_bundle(str(run / "ckpt-2")).names)
    index.write_bytes(index.read_bytes()[: index.stat().st_size // 2])
    report = salvaged(shared_session, run / "ckpt-2", out)
    assert report.plan.layout == str(run / "ckpt-1")
    assert set(outcomes(report)) == whole
    assert "lost" not in outcomes(report).values()
    assert set(outcomes(report).values()) == {"recovered", "unverified"}
    assert tensorflow("restore", str(out), False) == tensorflow("restore", str(_pristine(run)), False)


def _pristine(run: Path) -> Path:
    """The data of ckpt-2 under its own index, which the test kept in no file: the other save's index fits it."""
    whole = run.parent / "whole"
    whole.mkdir(exist_ok=True)
    shutil.copy(run / "ckpt-2.data-00000-of-00001", whole / "x.data-00000-of-00001")
    shutil.copy(TRAINED["index"], whole / "x.index")
    return whole / "x"


TRAINED: dict[str, Path] = {}


@pytest.fixture(autouse=True, scope="module")
def _keep_the_index(trained: list[str]) -> None:
    TRAINED["index"] = Path(f"{trained[1]}.index")


def test_no_flipped_bit_of_an_index_costs_anything(shared_session: Session, tmp_path: Path) -> None:
    """Flips all over the index: everything comes back, under its own name, dtype and shape."""
    (tmp_path / "run").mkdir()
    held = {"a/kernel": array([[1, 2], [3, 4]]), "b/steps": array([7, 8, 9], "i4"), "c": array(5)}
    prefix = write_bundle(tmp_path / "run" / "ckpt-1", held)
    index = Path(f"{prefix}.index")
    whole = index.read_bytes()
    good = {name: (str(v.dtype), v.shape) for name, v in held.items()}
    counts: dict[str, int] = {}
    for byte in range(0, len(whole), 3):
        index.write_bytes(whole)
        flip(index, byte, byte % 8)
        plan = planned(shared_session, prefix)
        assert {one.name: (one.dtype, one.shape) for one in plan.items} == good, byte
        assert set(outcomes(plan).values()) == {"recovered"}
        counts[plan.method] = counts.get(plan.method, 0) + 1
    print(counts)
    assert counts["repaired-index"] > 20


def test_a_flipped_bit_in_a_name_is_known_from_the_blocks_checksum(
    shared_session: Session, tensorflow: Oracle, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "run").mkdir()
    prefix = write_bundle(tmp_path / "run" / "ckpt-1", {"a/kernel": array([1, 2]), "b/bias": array([3])})
    index = Path(f"{prefix}.index")
    at = index.read_bytes().index(b"b/bias") + 3
    flip(index, at, 2)
    report = salvaged(shared_session, prefix, out)
    assert report.plan.method == "repaired-index"
    assert outcomes(report) == {"a/kernel": "recovered", "b/bias": "recovered"}
    (told,) = [f for f in report.plan.findings if f.code == "index-damaged"]
    assert (told.evidence["flipped"]["offset"], told.evidence["flipped"]["bit"]) == (at, 2)
    assert set(tensorflow("read", str(out))) == {"a/kernel", "b/bias"}


def test_a_flip_in_the_data_block_leaves_the_rest_recovered(
    shared_session: Session, tensorflow: Oracle, run: Path, out: Path
) -> None:
    """Two bits, so that no single one explains the block: each tensor's own checksum decides."""
    index = run / "ckpt-2.index"
    names = open_bundle(str(run / "ckpt-2")).names
    at = index.read_bytes().index(b"save_counter")
    flip(index, at, 0)
    flip(index, at + 1, 0)
    report = salvaged(shared_session, run / "ckpt-2", out)
    got = outcomes(report)
    assert sum(outcome == "recovered" for outcome in got.values()) >= len(names) - 2
    # the garbled name is not in the object graph, the name that is has no entry any more
    assert {"unverified", "lost"} & set(got.values())
    wrong = [name for name, outcome in got.items() if outcome == "recovered" and name not in names]
    assert not wrong
    tensorflow("restore", str(out), True)


def test_a_lost_index_from_the_part_index_of_the_save(
    shared_session: Session, tensorflow: Oracle, run: Path, out: Path, trained: list[str]
) -> None:
    (run / "ckpt-2_temp").mkdir()
    (run / "ckpt-2.index").rename(run / "ckpt-2_temp" / "part-00000-of-00001.index")
    report = salvaged(shared_session, run / "ckpt-2", out)
    assert report.plan.method == "part-index"
    assert set(outcomes(report).values()) == {"recovered"}
    assert tensorflow("read", str(out)) == tensorflow("read", trained[1])
    assert tensorflow("restore", str(out), False)


@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
def test_a_lost_index_from_a_siblings_layout(
    shared_session: Session, tensorflow: Oracle, run: Path, out: Path, trained: list[str], named: bool
) -> None:
    (run / "ckpt-2.index").unlink()
    options = {"layout": str(run / "ckpt-1")} if named else {}
    report = salvaged(shared_session, run / "ckpt-2", out, **options)
    plan = report.plan
    assert plan.method == "layout"
    assert plan.layout == str(run / "ckpt-1")
    got = outcomes(report)
    assert got["words/.ATTRIBUTES/VARIABLE_VALUE"] == "recovered"
    assert "same bytes" in item(plan, "words/.ATTRIBUTES/VARIABLE_VALUE").evidence["vouched"]
    assert got[OBJECT_GRAPH_KEY] == "recovered"
    trained_on = [name for name in got if "_trainable_variables" in name]
    assert trained_on
    assert {got[name] for name in trained_on} == {"unverified"}
    assert all(item(plan, name).evidence["vouched"] is False for name in trained_on)
    # nothing vouches for them, and yet they are the very values
    assert tensorflow("read", str(out)) == tensorflow("read", trained[1])
    assert tensorflow("restore", str(out), False)


def test_a_layout_that_fits_other_bytes_is_called_implausible(
    shared_session: Session, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "run").mkdir()
    write_bundle(tmp_path / "run" / "ckpt-1", {"a": array([0.5] * 64)})
    data = tmp_path / "run" / "ckpt-2.data-00000-of-00001"
    data.write_bytes(RANDOM.bytes(256))
    plan = planned(shared_session, tmp_path / "run" / "ckpt-2")
    assert outcomes(plan) == {"a": "unverified"}
    assert item(plan, "a").evidence["plausible"] < 0.5
    assert "implausible" in item(plan, "a").evidence["warning"]


def test_no_index_and_no_sibling_is_said_with_a_hint(shared_session: Session, run: Path) -> None:
    (run / "ckpt-2.index").unlink()
    for name in ("ckpt-1.index", "ckpt-1.data-00000-of-00001"):
        (run / name).unlink()
    with pytest.raises(UsageError) as caught:
        planned(shared_session, run / "ckpt-2")
    assert "--layout" in caught.value.hint


@pytest.mark.parametrize(("byte", "bit"), [(0, 0), (1700, 6), (2001, 7), (2002, 3)])
def test_a_flipped_bit_of_a_tensor_is_repaired_exactly(
    shared_session: Session, tensorflow: Oracle, tmp_path: Path, out: Path, byte: int, bit: int
) -> None:
    (tmp_path / "run").mkdir()
    held = weights()
    prefix = write_bundle(tmp_path / "run" / "ckpt-1", held)
    data = Path(f"{prefix}.data-00000-of-00001")
    whole = data.read_bytes()
    flip(data, byte, bit)
    plan = planned(shared_session, prefix)
    (bad,) = [one for one in plan.items if one.outcome != "recovered"]
    assert bad.outcome == "repairable"
    found = bad.evidence["flip"]
    assert (found["offset"], found["bit"]) == (byte, bit)
    assert found["coincidence"] == pytest.approx(bad.bytes * 8 / 2**32)
    values = held[bad.name]
    assert found["was"] == pytest.approx(float(values[tuple(found["index"])]))
    assert found["now"] != found["was"]
    report = salvaged(shared_session, prefix, out)
    assert bad.name not in tensorflow("read", str(out))
    assert outcomes(report)[bad.name] == "repairable"
    again = out.with_name("again")
    report = salvaged(shared_session, prefix, again, repair_bits=True)
    assert outcomes(report)[bad.name] == "repaired"
    assert Path(f"{again}.data-00000-of-00001").read_bytes() == whole
    assert set(tensorflow("read", str(again))) == set(held)


def test_a_flipped_bit_in_the_object_graph_is_repaired(
    shared_session: Session, tensorflow: Oracle, run: Path, out: Path, trained: list[str]
) -> None:
    bundle = open_bundle(str(run / "ckpt-2"))
    graph = next(t for t in bundle.listing().tensors if t.name == OBJECT_GRAPH_KEY)
    assert graph.storage.segment is not None
    data = run / "ckpt-2.data-00000-of-00001"
    start = graph.storage.segment.offset
    for place in (start, start + 4, start + 500):
        whole = data.read_bytes()
        flip(data, place, 1)
        plan = planned(shared_session, run / "ckpt-2")
        assert item(plan, OBJECT_GRAPH_KEY).outcome == "repairable", place
        assert item(plan, OBJECT_GRAPH_KEY).evidence["flip"]["offset"] == place
        target = out.with_name(f"at{place}")
        report = salvaged(shared_session, run / "ckpt-2", target, repair_bits=True)
        assert set(outcomes(report).values()) == {"recovered", "repaired"}
        data.write_bytes(whole)
    assert tensorflow("read", str(target)) == tensorflow("read", trained[1])
    assert tensorflow("restore", str(target), False)


def test_a_lost_tensor_is_absent_and_the_rest_restores(
    shared_session: Session, tensorflow: Oracle, run: Path, out: Path, trained: list[str]
) -> None:
    """Two flipped bits in one kernel: gone; the object graph no longer asks for it."""
    bundle = open_bundle(str(run / "ckpt-2"))
    kernel = next(t for t in bundle.listing().tensors if t.object_path.endswith("logits/kernel") and t.role == "kernel")
    assert kernel.storage.segment is not None
    data = run / "ckpt-2.data-00000-of-00001"
    flip(data, kernel.storage.segment.offset + 5, 1)
    flip(data, kernel.storage.segment.offset + 9, 1)
    report = salvaged(shared_session, run / "ckpt-2", out)
    assert [name for name, outcome in outcomes(report).items() if outcome == "lost"] == [kernel.name]
    assert item(report.plan, kernel.name).evidence["expected"] == kernel.storage.crc32c
    assert item(report.plan, OBJECT_GRAPH_KEY).evidence["attributes_dropped"] == 1
    read, whole = tensorflow("read", str(out)), tensorflow("read", trained[1])
    for name in whole.keys() - {kernel.name, OBJECT_GRAPH_KEY}:
        assert read[name] == whole[name]
    assert kernel.name not in read
    restored = tensorflow("restore", str(out), True)
    assert sum(restored[name] == value for name, value in tensorflow("restore", trained[1], False).items()) == (
        len(restored) - 1
    )


def test_a_truncated_shard_gives_every_tensor_before_the_cut(
    shared_session: Session, tensorflow: Oracle, run: Path, out: Path, trained: list[str]
) -> None:
    data = run / "ckpt-2.data-00000-of-00001"
    size = data.stat().st_size
    data.write_bytes(data.read_bytes()[: size // 2])
    before = {
        t.name for t in open_bundle(trained[1]).listing().tensors
        if t.storage.segment and t.storage.segment.offset + t.storage.segment.bytes <= size // 2
    }  # fmt: skip
    report = salvaged(shared_session, run / "ckpt-2", out)
    assert {n for n, o in outcomes(report).items() if o == "recovered"} == before
    # the graph of the other save has the same tensors: with it the rest restores
    assert item(report.plan, OBJECT_GRAPH_KEY).outcome == "unverified"
    assert item(report.plan, OBJECT_GRAPH_KEY).evidence["taken_from"] == str(run / "ckpt-1")
    whole, read = tensorflow("read", trained[1]), tensorflow("read", str(out))
    assert {name: read[name] for name in before} == {name: whole[name] for name in before}
    assert set(read) == before | {OBJECT_GRAPH_KEY}
    assert tensorflow("restore", str(out), True)
    # alone, the graph is lost, and that is said
    for name in ("ckpt-1.index", "ckpt-1.data-00000-of-00001"):
        (run / name).unlink()
    report = salvaged(shared_session, run / "ckpt-2", out.with_name("alone"))
    assert {o for n, o in outcomes(report).items() if n not in before} == {"lost"}
    assert any("object graph is lost" in note for note in report.plan.notes)
    assert tensorflow("read", str(out.with_name("alone"))) == {name: whole[name] for name in before}


def test_several_shards_and_tiles(shared_session: Session, tensorflow: Oracle, tmp_path: Path, out: Path) -> None:
    (tmp_path / "run").mkdir()
    prefix = tensorflow("sharded", str(tmp_path / "run"))
    whole = tensorflow("read", prefix)
    report = salvaged(shared_session, prefix, out)
    assert set(outcomes(report).values()) == {"recovered"}
    assert tensorflow("read", str(out)) == whole
    name = "a/.ATTRIBUTES/VARIABLE_VALUE"
    tiles = next(t for t in open_bundle(prefix).listing().tensors if t.name == name).storage.slices
    assert len(tiles) > 2
    # a flipped bit in a tile, then its whole shard gone
    flip(tiles[1].segment.file, tiles[1].segment.offset + 7, 4)
    plan = planned(shared_session, prefix)
    assert item(plan, name).outcome == "repairable"
    report = salvaged(shared_session, prefix, out.with_name("mended"), repair_bits=True)
    assert tensorflow("read", str(out.with_name("mended"))) == whole
    flip(tiles[1].segment.file, tiles[1].segment.offset + 7, 4)
    Path(tiles[1].segment.file).unlink()
    gone = [n for n, tile in enumerate(tiles) if tile.segment.file == tiles[1].segment.file]
    report = salvaged(shared_session, prefix, out.with_name("holes"))
    part = item(report.plan, name)
    assert part.outcome == "unverified"
    assert part.evidence["lost_tiles"] == gone
    expected = np.arange(2000, dtype="f4").reshape(100, 20)
    for number in gone:
        tile = tiles[number]
        expected[tuple(slice(s, s + n) for s, n in zip(tile.start, tile.shape, strict=True))] = np.nan
    assert part.evidence["covered"] == pytest.approx(np.isfinite(expected).mean())
    stored = next(t for t in open_bundle(str(out.with_name("holes"))).listing().tensors if t.name == name)
    assert np.array_equal(open_bundle(str(out.with_name("holes"))).array(stored), expected, equal_nan=True)


def test_tiles_of_integers_have_no_nan_and_are_lost(shared_session: Session, tmp_path: Path, out: Path) -> None:
    (tmp_path / "run").mkdir()
    values = np.arange(40, dtype="i4").reshape(10, 4)
    prefix = write_bundle(
        tmp_path / "run" / "ckpt-1",
        {"table": Tiled(values, [[(0, 5), (0, -1)], [(5, 5), (0, -1)]]), "rest": array([1, 2])},
        shards=2,
    )
    tensor = next(t for t in open_bundle(prefix).listing().tensors if t.name == "table")
    Path(tensor.storage.slices[1].segment.file).unlink()
    plan = planned(shared_session, prefix)
    assert item(plan, "table").outcome == "lost"
    assert item(plan, "table").evidence["covered"] == 0.5


def test_big_endian_strings_and_variants_come_out_little_endian(
    shared_session: Session, tensorflow: Oracle, tmp_path: Path, out: Path
) -> None:
    (tmp_path / "run").mkdir()
    held = {"f": array([1.5, -2]), "i": array([[1], [-7]], "int64"), "c": array([1 + 2j], "complex64")}
    prefix = write_bundle(tmp_path / "run" / "big", held, big_endian=True)
    report = salvaged(shared_session, prefix, out)
    assert set(outcomes(report).values()) == {"recovered"}
    assert tensorflow("read", str(out)) == tensorflow("read", write_bundle(tmp_path / "run" / "little", held))
    raw, crc = variants_payload([b"\x0a\x01x", b""])
    more = {"words": strings([b"", b"x" * 300, b"\xff\0"]), "state": Stored("variant", (2,), raw, crc)}
    prefix = write_bundle(tmp_path / "run" / "odd", {**more, "none": np.zeros((0, 3), "f4")})
    report = salvaged(shared_session, prefix, out.with_name("odd"))
    assert set(outcomes(report).values()) == {"recovered"}
    copied = open_bundle(str(out.with_name("odd")))
    tensors = {t.name: t for t in copied.listing().tensors}
    assert copied.array(tensors["words"]).tolist() == [b"", b"x" * 300, b"\xff\0"]
    assert copied.array(tensors["state"]).tolist() == [b"\x0a\x01x", b""]
    assert tensors["none"].shape == (0, 3)
    assert set(tensorflow("read", str(out.with_name("odd")))) == {"words", "state", "none"}


@needs_samples
@pytest.mark.parametrize(
    ("name", "recovered"),
    [("flipped_bit", 12), ("missing_index", 12), ("truncated_shard", 10), ("zero_filled_tail", 10)],
)
def test_the_broken_samples(shared_session: Session, tensorflow: Oracle, out: Path, name: str, recovered: int) -> None:
    report = salvaged(shared_session, SAMPLES / "broken" / name / "ckpt-2", out, repair_bits=True)
    assert len(report.plan.writable) == recovered
    assert set(tensorflow("read", str(out))) == {one.name for one in report.plan.writable}


@needs_samples
def test_the_variables_of_a_saved_model_without_its_index(
    shared_session: Session, tensorflow: Oracle, tmp_path: Path, out: Path
) -> None:
    """Two versions side by side: the other one's index tells where everything lies."""
    for version in ("1", "2"):
        shutil.copytree(SAMPLES / "digits_saved_model", tmp_path / "export" / version)
    whole = tensorflow("read", str(tmp_path / "export" / "1" / "variables" / "variables"))
    (tmp_path / "export" / "2" / "variables" / "variables.index").unlink()
    report = salvaged(shared_session, tmp_path / "export" / "2", out)
    assert report.plan.method == "layout"
    # the very same export: every byte is the sibling's
    assert set(outcomes(report).values()) == {"recovered"}
    assert tensorflow("read", str(out)) == whole


def test_an_older_savers_checkpoint(shared_session: Session, tensorflow: Oracle, out: Path) -> None:
    """The one-file format that came before: read by its own reader, written as today's."""
    made = tensorflow("version_1", str(out.parent.parent))
    report = salvaged(shared_session, Path(made) / "model.ckpt", out)
    assert set(outcomes(report).values()) == {"recovered"}
    assert tensorflow("read", str(out)) == tensorflow("read", str(Path(made) / "model.ckpt"))
