"""An index that is damaged, cut, emptied, something else, or gone: each cause by its own finding."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.dtypes import NUMBERS
from ckptui.core.model import Finding, Listing
from ckptui.readers.bundle import open_bundle
from ckptui.readers.sstable_walk import METAINDEX
from tests.damaged.asking import ask_tensorflow, check_json, digest
from tests.damaged.conftest import Oracle
from tests.readers.make_bundle import (
    GRAPH_KEY,
    Node,
    Tiled,
    entry,
    graph,
    header,
    strings,
    table,
    write_bundle,
)

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 1, 4)
VALUES: dict[str, Any] = {
    "conv1/kernel": KERNEL,
    "conv1/bias": np.ones(4, np.float32),
    "global_step": np.array(3000, np.int64),
    "words": strings([b"alpha", b"", b"gamma"]),
    GRAPH_KEY: graph([Node({"a": 1}), Node()]),
}
MANY: dict[str, Any] = {f"t{i:03d}": np.full(1, i, np.float32) for i in range(60)}
TEN: dict[str, Any] = {f"n{i}": np.full(10, i, np.float32) for i in range(10)}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 4321\n"
PAGE = b"<!DOCTYPE html><html><title>404</title><body>Not found</body></html>\n" * 2
FOOTER = 48

Edit = Callable[[bytes], bytes]


def flip(position: int, bit: int = 0) -> Edit:
    def edited(raw: bytes) -> bytes:
        out = bytearray(raw)
        out[position] ^= 1 << bit
        return bytes(out)

    return edited


def in_index_block(raw: bytes) -> bytes:
    return flip(raw.index(METAINDEX) + len(METAINDEX) + 4)(raw)


def in_metaindex(raw: bytes) -> bytes:
    return flip(raw.index(METAINDEX) + 1)(raw)


EDITS: dict[str, tuple[Edit, dict[str, Any]]] = {
    "data block flipped": (flip(30), {"where": "data block", "offset": 0, "cause": "flipped"}),
    "header flipped": (flip(5, 1), {"where": "data block", "offset": 0, "cause": "flipped"}),
    "block checksum flipped": (lambda raw: flip(raw.index(METAINDEX) - 2)(raw), {"where": "data block", "offset": 0}),
    "index block flipped": (in_index_block, {"where": "index block", "cause": "flipped"}),
    "handle moved": (flip(-FOOTER + 3), {"where": "footer", "cause": "flipped"}),
    "handle grown": (flip(-FOOTER + 5, 6), {"where": "footer", "cause": "flipped"}),
    "magic flipped": (flip(-3), {"where": "footer", "cause": "flipped", "expected": "57fb808b247547db"}),
    "last byte gone": (lambda raw: raw[:-1], {"where": "file", "cause": "truncated", "bytes_missing": 1}),
    "footer gone": (lambda raw: raw[:-FOOTER], {"where": "file", "cause": "truncated", "bytes_missing": FOOTER}),
    "half gone": (lambda raw: raw[: len(raw) // 2], {"where": "file", "cause": "truncated"}),
    "40 bytes left": (lambda raw: raw[:40], {"where": "file", "cause": "truncated", "bytes_missing": 8}),
    "byte appended": (lambda raw: raw + b"\n", {"where": "footer", "cause": "appended", "bytes_extra": 1}),
    "page of zeros appended": (lambda raw: raw + bytes(4096), {"cause": "appended", "bytes_extra": 4096}),
}
"""Damage to the index of VALUES that costs no more than a part of it."""
ELSE: dict[str, tuple[Edit, str, dict[str, Any]]] = {
    "empty": (lambda raw: b"", "empty-file", {"looks_like": "empty file"}),
    "all zeros": (lambda raw: bytes(len(raw)), "zero-filled", {"cause": "zero-filled"}),
    "zero tail": (lambda raw: raw[:-100] + bytes(100), "zero-filled", {"cause": "zero-filled"}),
    "gzip": (gzip.compress, "not-a-model", {"looks_like": "gzip archive"}),
    "page": (lambda raw: PAGE, "not-a-model", {"looks_like": "web page or error message"}),
    "pointer": (lambda raw: LFS, "not-a-model", {"looks_like": "git-lfs pointer", "size": 4321, "sha256": "ab" * 32}),
    "utf-8": (lambda raw: raw.decode("latin-1").encode(), "not-a-model", {"text_mangled": True, "mangling": "utf-8"}),
}


def damaged(folder: Path, edit: Edit, values: dict[str, Any] = VALUES, **options: Any) -> str:
    folder.mkdir(exist_ok=True)
    prefix = write_bundle(folder / "ckpt-1", values, **options)
    index = Path(f"{prefix}.index")
    index.write_bytes(edit(index.read_bytes()))
    return prefix


def the_finding(found: Listing) -> Finding:
    assert len(found.findings) == 1, [(f.code, f.detail) for f in found.findings]
    return found.findings[0]


def holds(finding: Finding, wanted: dict[str, Any]) -> None:
    known = {name: finding.evidence.get(name) for name in wanted}
    assert known == wanted, finding.evidence


@pytest.mark.parametrize("how", sorted(EDITS))
def test_damage_is_one_finding_that_names_its_cause(tmp_path: Path, how: str) -> None:
    edit, wanted = EDITS[how]
    prefix = damaged(tmp_path / "x", edit)
    bundle = open_bundle(prefix)
    found = bundle.listing()
    finding = the_finding(found)
    assert (finding.code, finding.severity, finding.tensor) == ("index-damaged", "error", None)
    holds(finding, {"file": f"{prefix}.index", **wanted})
    if how not in ("half gone", "40 bytes left"):
        assert [t.name for t in found.tensors] == sorted(VALUES)
        kernel = next(t for t in found.tensors if t.name == "conv1/kernel")
        assert np.array_equal(bundle.array(kernel), KERNEL)


@pytest.mark.parametrize("how", sorted(ELSE))
def test_something_else_in_its_place_is_told_by_name(tmp_path: Path, how: str) -> None:
    edit, code, wanted = ELSE[how]
    prefix = damaged(tmp_path / "x", edit)
    finding = the_finding(open_bundle(prefix).listing())
    assert (finding.code, finding.severity) == (code, "error")
    holds(finding, {"file": f"{prefix}.index", **wanted})


def test_where_a_flipped_bit_lies_is_told_to_the_bit(tmp_path: Path) -> None:
    for position, bit in (30, 0), (77, 5), (150, 7):
        finding = the_finding(open_bundle(damaged(tmp_path / f"{position}", flip(position, bit))).listing())
        flipped = finding.evidence["flipped"]
        assert (flipped["offset"], flipped["bit"]) == (position, bit)
        assert flipped["coincidence"] < 1e-6
        assert finding.evidence["expected"] != finding.evidence["found"]


def test_a_zeroed_page_inside_is_told_with_its_run(tmp_path: Path) -> None:
    values = {f"layer_{i:04d}/kernel": np.full(1, i, np.float32) for i in range(600)}
    prefix = damaged(tmp_path / "x", lambda raw: raw[:4096] + bytes(4096) + raw[8192:], values)
    found = open_bundle(prefix).listing()
    finding = the_finding(found)
    assert (finding.code, finding.evidence["where"]) == ("zero-filled", "data block")
    run = finding.evidence["zero_run"]
    assert 4090 <= run["offset"] <= 4096
    assert 4096 <= run["bytes"] <= 4110
    assert 400 < len(found.tensors) < 600


def test_text_mode_line_ends_are_undone(tmp_path: Path) -> None:
    prefix = damaged(tmp_path / "x", lambda raw: raw.replace(b"\n", b"\r\n"), {**VALUES, **TEN})
    grown = Path(f"{prefix}.index").read_bytes().count(b"\r\n")
    assert grown > 3
    bundle = open_bundle(prefix)
    found = bundle.listing()
    finding = the_finding(found)
    assert finding.code == "not-a-model"
    holds(finding, {"text_mangled": True, "mangling": "crlf", "entries_read": len(VALUES) + len(TEN) + 1})
    assert finding.evidence["found"] - finding.evidence["expected"] == grown
    assert [bundle.array(t).tolist() for t in found.tensors if t.name in TEN] == [[i] * 10 for i in range(10)]


def test_an_index_without_a_line_feed_does_not_change_and_is_healthy(tmp_path: Path) -> None:
    prefix = damaged(tmp_path / "x", lambda raw: raw.replace(b"\n", b"\r\n"), {"a": KERNEL})
    assert open_bundle(prefix).listing().findings == ()


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    prefix = damaged(tmp_path / "x", lambda raw: raw)
    Path(f"{prefix}.index").unlink()
    Path(f"{prefix}.index").mkdir()
    finding = the_finding(open_bundle(prefix).listing())
    assert (finding.code, finding.evidence["looks_like"]) == ("not-a-model", "folder")


def test_a_lost_index_is_told_with_siblings_and_data(tmp_path: Path) -> None:
    for step in 2, 7, 30:
        write_bundle(tmp_path / f"ckpt-{step}", VALUES)
    write_bundle(tmp_path / "other", VALUES)
    (tmp_path / "ckpt-7.index").unlink()
    finding = the_finding(open_bundle(str(tmp_path / "ckpt-7")).listing())
    assert finding.code == "index-missing"
    holds(
        finding,
        {
            "file": f"{tmp_path}/ckpt-7.index",
            "data_files": [f"{tmp_path}/ckpt-7.data-00000-of-00001"],
            "siblings": [f"{tmp_path}/ckpt-2", f"{tmp_path}/ckpt-30"],
            "rescue": [],
        },
    )


def crafted(folder: Path) -> str:
    """A bundle whose only entry has a size that is not its shape's."""
    prefix = write_bundle(folder / "crafted", {"d": np.zeros(6, np.int32)})
    items = [(b"", header()), (b"d", entry(NUMBERS["int32"], (5, 3), 0, 0, 24, 0))]
    Path(f"{prefix}.index").write_bytes(table(items))
    return prefix


def test_a_crafted_size_is_the_entrys_own_fault(tmp_path: Path) -> None:
    prefix = crafted(tmp_path)
    finding = the_finding(open_bundle(prefix).listing())
    assert (finding.code, finding.tensor) == ("entry-invalid", "d")
    holds(finding, {"expected": 60, "found": 24, "offset": 0, "shape": [5, 3]})


def test_a_flip_in_the_second_block_costs_nothing_here(tmp_path: Path) -> None:
    prefix = damaged(tmp_path / "x", flip(900), MANY, block_size=500)
    bundle = open_bundle(prefix)
    found = bundle.listing()
    finding = the_finding(found)
    assert finding.evidence["offset"] > 0
    assert "tensorflow_omits" in finding.evidence
    assert [bundle.array(t).tolist() for t in found.tensors] == [[i] for i in range(60)]


@pytest.mark.tensorflow
def test_what_tensorflow_says_of_each_is_in_the_evidence(tensorflow: Oracle, tmp_path: Path) -> None:
    prefixes = {how: damaged(tmp_path / how.replace(" ", "-"), edit) for how, (edit, _) in EDITS.items()}
    prefixes |= {how: damaged(tmp_path / how.replace(" ", "-"), edit) for how, (edit, _, _) in ELSE.items()}
    prefixes["crlf"] = damaged(tmp_path / "crlf", lambda raw: raw.replace(b"\n", b"\r\n"), {**VALUES, **TEN})
    prefixes["folder"] = damaged(tmp_path / "folder", lambda raw: raw)
    Path(f"{prefixes['folder']}.index").unlink()
    Path(f"{prefixes['folder']}.index").mkdir()
    prefixes["lost"] = damaged(tmp_path / "lost", lambda raw: raw)
    Path(f"{prefixes['lost']}.index").unlink()
    for bit in range(40):
        name = f"handle bit {bit}"
        prefixes[name] = damaged(tmp_path / f"handle{bit}", flip(-FOOTER + 3 + bit // 8, bit % 8))
    others = crafted(tmp_path), damaged(tmp_path / "second", flip(900), MANY, block_size=500), whole_index(tmp_path)[0]
    said = ask_tensorflow(tensorflow, [*prefixes.values(), *others])
    compared = 0
    for how, prefix in prefixes.items():
        finding = the_finding(open_bundle(prefix).listing())
        message = said[prefix][""]
        if finding.evidence.get("cosmetic"):
            assert message == "", how
            compared += 1
            continue
        told = finding.evidence.get("tensorflow_says")
        assert told is not None or how.startswith("handle bit"), how
        if told is not None:
            assert told in message, (how, told, message)
            compared += 1
    print(f"\n{compared} of {len(prefixes)} damaged indexes: TensorFlow says what the evidence quotes, or nothing")
    assert compared >= len(prefixes) - 2
    assert the_finding(open_bundle(others[0]).listing()).evidence["tensorflow_says"] in said[others[0]]["d"]
    # of a damaged second block it says nothing at all, and leaves the tensors out
    assert said[others[1]][""] == ""
    assert 1 < len(said[others[1]]) < 60
    bundle = open_bundle(others[2])
    for tensor in bundle.listing().tensors:
        assert said[others[2]][tensor.name] == digest(bundle.array(tensor)), tensor.name


@pytest.mark.parametrize("how", ["folder", "page", "zero tail"])
def test_check_gives_one_finding(tmp_path: Path, how: str) -> None:
    edit = next((table[how][0] for table in (EDITS, ELSE) if how in table), lambda raw: raw)
    prefix = damaged(tmp_path / "x", edit)
    if how == "folder":
        Path(f"{prefix}.index").unlink()
        Path(f"{prefix}.index").mkdir()
    document = check_json(prefix)
    [finding] = document["findings"]
    wanted = {"half gone": "index-damaged", "all zeros": "zero-filled", "zero tail": "zero-filled"}
    assert finding["code"] == wanted.get(how, "not-a-model")
    assert finding["evidence"]["file"] == f"{prefix}.index"


# -- everything


def whole_index(folder: Path, **options: Any) -> tuple[str, bytes, dict[str, tuple[Any, ...]]]:
    values = {**MANY, "a": Tiled(np.arange(4, dtype=np.int32), [[(0, 2)], [(2, 2)]]), "w": strings([b"x"])}
    values = {name: values[name] for name in [*sorted(values)[:12], "w"]}
    prefix = write_bundle(folder / "x", values, **options)
    return prefix, Path(f"{prefix}.index").read_bytes(), described(open_bundle(prefix).listing())


def described(found: Listing) -> dict[str, tuple[Any, ...]]:
    return {t.name: (t.dtype, t.shape, t.bytes, t.storage) for t in found.tensors}


KINDS: dict[str, dict[str, Any]] = {
    "one block": {},
    "two blocks": {"block_size": 250},
    "snappy": {"snappy": True, "block_size": 400},
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_truncation_is_told_and_what_is_listed_is_true(tmp_path: Path, kind: str) -> None:
    prefix, whole, wanted = whole_index(tmp_path, **KINDS[kind])
    most = 0
    for length in range(len(whole)):
        Path(f"{prefix}.index").write_bytes(whole[:length])
        found = open_bundle(prefix).listing()
        finding = the_finding(found)
        assert finding.code == ("index-damaged" if length else "empty-file"), length
        assert finding.severity == "error"
        if length:
            assert (finding.evidence["cause"], finding.evidence["found"]) == ("truncated", length)
        listed = described(found)
        assert all(wanted[name] == seen for name, seen in listed.items()), length
        most = max(most, len(listed))
    assert most == len(wanted)
    print(f"\n{kind}: {len(whole)} truncations told, none lists a tensor wrongly")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_flipped_bit_is_told_once_and_none_lists_wrongly(tmp_path: Path, kind: str) -> None:
    prefix, whole, wanted = whole_index(tmp_path, **KINDS[kind])
    metaindex = whole.index(METAINDEX)
    footer = len(whole) - FOOTER
    handles = end_of_varints(whole, footer, 2)
    padding = end_of_varints(whole, footer, 4)
    outcomes: Counter[str] = Counter()
    for number in range(len(whole) * 8):
        place, bit = divmod(number, 8)
        Path(f"{prefix}.index").write_bytes(flip(place, bit)(whole))
        found = open_bundle(prefix).listing()
        finding = the_finding(found)
        assert finding.code == "index-damaged", number
        unread = metaindex <= place < metaindex + len(METAINDEX) or padding <= place < len(whole) - 8
        cosmetic = bool(finding.evidence.get("cosmetic"))
        assert cosmetic == (finding.severity == "warning")
        assert cosmetic or not unread, number
        longer = (place, bit) == (padding - 1, 7)  # the same number in a longer form
        assert unread or longer or footer <= place < handles or not cosmetic, number
        listed = described(found)
        assert listed == wanted, number
        outcomes["cosmetic" if cosmetic else finding.evidence["where"]] += 1
    print(
        f"\n{kind}: {len(whole) * 8} flipped bits, each one finding, all {len(wanted)} tensors listed: {dict(outcomes)}"
    )


def end_of_varints(raw: bytes, position: int, count: int) -> int:
    for _ in range(count):
        while raw[position] & 128:
            position += 1
        position += 1
    return position


def test_damage_of_several_bits_never_lists_wrongly_without_a_word(tmp_path: Path) -> None:
    prefix, whole, wanted = whole_index(tmp_path, block_size=300)
    draw = np.random.default_rng(3)
    wrong = 0
    for _ in range(1500):
        raw = bytearray(whole)
        for place in draw.integers(0, len(raw), draw.integers(2, 9)):
            raw[place] = draw.integers(0, 256)
        if bytes(raw) == whole:
            continue
        Path(f"{prefix}.index").write_bytes(raw)
        found = open_bundle(prefix).listing()
        codes = {finding.code for finding in found.findings}
        assert codes & {"index-damaged", "zero-filled", "duplicate-key"}, bytes(raw).hex()
        if described(found) != wanted:
            wrong += 1
            assert any(f.severity == "error" for f in found.findings)
    print(f"\n1500 garbled indexes told; {wrong} cost entries")
