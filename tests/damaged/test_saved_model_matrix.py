"""Every cut of a small graph and a flip in every byte, with protobuf as the judge."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckptui.core.model import Finding
from ckptui.readers.graph_causes import binary_cause, graph_finding
from ckptui.readers.graph_facts import Gatherer
from ckptui.readers.graph_wire import walk_wire
from ckptui.readers.saved_model import open_saved_model
from ckptui.readers.signatures import MetaGraph
from ckptui.readers.signatures import meta_graph as meta_graph_facts
from ckptui.readers.wire import fields
from ckptui.session import Session
from tests import warm_tensorflow
from tests.damaged.exported import FLOAT
from tests.places import ROOT
from tests.readers.protos import entry, graph, meta_graph, node, number, part, saved_model_proto, shape

# ---------------------------------------------------------------------- cuts and flips

STEP = 2
"""Of so many bytes one is flipped, or the end: two thousand cases of each kind."""


def smallest(exports: Path) -> bytes:
    """The graph of an export of nothing, without the list of ops it uses: 4 kB of TensorFlow's own plumbing."""
    whole = (exports / "bare" / "saved_model.pb").read_bytes()
    (meta,) = [bytes(value) for field, _, value in fields(whole) if field == 2 and not isinstance(value, int)]
    (info,) = [bytes(value) for field, _, value in fields(meta) if field == 1 and not isinstance(value, int)]
    (ops,) = [bytes(value) for field, _, value in fields(info) if field == 2 and not isinstance(value, int)]
    return saved_model_proto(meta.replace(part(1, info), part(1, info.replace(part(2, ops), b""))))


def listed(graphs: Sequence[MetaGraph]) -> list[Any]:
    """Facts as the child that asks protobuf gives them; upb drops a map entry whose key it does not know."""
    return [
        [
            list(facts.tags),
            facts.tensorflow,
            facts.nodes,
            facts.functions,
            facts.objects,
            sorted(s.name for s in facts.signatures if s.name and not s.name.startswith("__saved_model_")),
        ]
        for facts in graphs
    ]


def walked(data: bytes) -> tuple[list[Any] | None, Finding | None]:
    """What the walk makes of a graph's bytes: facts, or None and the finding."""
    gatherer = Gatherer()
    walk_wire(lambda at, count: data[at : at + count], len(data), gatherer, "SavedModel")
    graphs = [meta_graph_facts(message) for message in gatherer.root.get("meta_graphs", ())]
    if gatherer.damage is None:
        return listed(graphs) or None, None
    cause, _ = binary_cause(data, len(data), gatherer.damage, len(graphs))
    return None, graph_finding("f", "f/saved_model.pb", gatherer.damage, cause, graphs)


def told(folder: Path, data: bytes) -> list[Finding]:
    """The reader's findings about a folder that holds this graph."""
    (folder / "saved_model.pb").write_bytes(data)
    return [f for f in open_saved_model(folder).listing().findings if f.code not in ("unsafe-op", "index-missing")]


def asked(graphs: list[bytes]) -> list[Any]:
    """What protobuf says of each."""
    job = ["-m", "tests.damaged.tensorflow_exports", "parse"]
    lines = "\n".join(data.hex() or "-" for data in graphs)
    done = warm_tensorflow.run(job, input=lines, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[Any] = json.loads(done.stdout)
    assert len(answers) == len(graphs)
    return answers


def test_every_cut_is_told_with_the_bytes_that_are_missing(exports: Path, tmp_path: Path) -> None:
    whole = smallest(exports)
    ends = [*range(64), *range(64, len(whole), STEP), len(whole) - 1]
    for end in ends:
        facts, finding = walked(whole[:end])
        assert facts is None, end
        if end > 5:
            assert finding is not None
            assert (finding.code, finding.evidence["offset"]) == ("graph-damaged", 2), end
            assert finding.evidence["bytes_missing"] == len(whole) - end
        if end % 24 == 0:
            assert len(told(tmp_path, whole[:end])) == 1, end
    print(f"{len(ends)} cuts, all told")


def test_a_flip_in_every_second_byte_lists_what_protobuf_reads_or_is_told(exports: Path, tmp_path: Path) -> None:
    """No checksum covers a graph: a flip inside a name or a number leaves another legal graph, listed as it is."""
    whole = smallest(exports)
    rng = np.random.default_rng(20)
    flips = []
    for place in range(0, len(whole), STEP):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        flips.append(bytes(flipped))
    noticed = 0
    for place, (data, answer) in enumerate(zip(flips, asked(flips), strict=True)):
        facts, finding = walked(data)
        assert facts == (answer or None), (place, facts, answer, finding)
        noticed += facts is None
        if place % 16 == 0:
            assert bool(told(tmp_path, data)) >= (facts is None), place
    print(f"{len(flips)} flips: {noticed} are no graph any more and told, {len(flips) - noticed} are another graph")
    assert noticed > len(flips) // 4


def test_every_bit_of_a_small_graph(tmp_path: Path) -> None:
    """All 8 bits of every byte: no exception, no slow one."""
    x = part(1, "x:0") + number(2, FLOAT) + part(3, shape(2))
    signature = entry(5, "serving_default", entry(1, "x", x) + entry(2, "y", x))
    whole = saved_model_proto(meta_graph(graph(node("x", "Placeholder"), node("y", "Identity")), rest=signature))
    slowest = 0.0
    count = noticed = 0
    for place in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            start = time.process_time()
            noticed += bool(told(tmp_path, bytes(flipped)))
            slowest = max(slowest, time.process_time() - start)
            count += 1
    print(f"{count} flips, {noticed} noticed, the slowest {slowest * 1000:.0f} ms")
    assert slowest < 2
    assert noticed > count // 4


def test_a_sample_through_a_real_child(exports: Path, tmp_path: Path, shared_session: Session) -> None:
    whole = smallest(exports)
    rng = np.random.default_rng(21)
    for number_ in range(12):
        place = int(rng.integers(len(whole)))
        data = whole[:place] if number_ % 2 else whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :]
        folder = tmp_path / str(number_)
        shutil.copytree(exports / "bare", folder)
        (folder / "saved_model.pb").write_bytes(data)
        listing = shared_session.open(str(folder))
        ours = open_saved_model(folder).listing()
        assert [(f.code, dict(f.evidence)) for f in listing.findings if f.code != "name-hostile"] == [
            (f.code, dict(f.evidence)) for f in ours.findings
        ]
