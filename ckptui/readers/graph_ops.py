"""Ops through which a graph reaches outside itself when it is run: code, files, network.

A list of what is known, not a proof of harmlessness: "no flagged ops found" is the most that can be said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckptui.core.model import Finding, Severity
from ckptui.readers.graph_facts import OpCount
from ckptui.readers.graph_reach import READING, SAVER_OPS, WRITING
from ckptui.readers.notices import notice
from ckptui.readers.signatures import MetaGraph

PYTHON_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
CODE_OPS = PYTHON_OPS | {"XlaCustomCall", "XlaCustomCallV2"}
"""Call code that is not in the graph."""

FILE_OPS = frozenset(
    {
        "WriteFile",
        "ReadFile",
        "MatchingFiles",
        "MatchingFilesDataset",
        "WholeFileReader",
        "WholeFileReaderV2",
        "DumpTensor",
        "LoadAndRemapMatrix",
        "SaveDataset",
        "SaveDatasetV2",
        "LoadDataset",
        "DatasetToTFRecord",
        "ExperimentalDatasetToTFRecord",
        "CreateSummaryFileWriter",
        "CreateSummaryDbWriter",
        "RpcClient",
        "RpcServer",
        "RpcCall",
        "SqlDataset",
        "ExperimentalSqlDataset",
        "RemoteCall",
        "LoadLibrary",
        "SnapshotDataset",
        "SnapshotDatasetV2",
        "SnapshotDatasetReader",
        "SnapshotNestedDatasetReader",
        "DebugIdentity",
        "DebugIdentityV2",
        "DebugIdentityV3",
        "DataServiceDataset",
        "DataServiceDatasetV2",
        "DataServiceDatasetV3",
        "DataServiceDatasetV4",
    }
)
"""Touch files or the network under names the graph chooses."""

PRINT_OPS = frozenset({"PrintV2"})
"""Write to a file when their stream says so."""

READER_OPS = frozenset(
    {
        "InitializeTableFromTextFile",
        "InitializeTableFromTextFileV2",
        "TextLineDataset",
        "TFRecordDataset",
        "TFRecordDatasetV2",
        "FixedLengthRecordDataset",
        "FixedLengthRecordDatasetV2",
        "CSVDataset",
        "CSVDatasetV2",
        "TextLineReader",
        "TextLineReaderV2",
        "TFRecordReader",
        "TFRecordReaderV2",
        "FixedLengthRecordReader",
        "FixedLengthRecordReaderV2",
        "Send",
        "Recv",
        "CollectiveReduce",
        "CollectiveReduceV2",
        "CollectiveGather",
        "CollectiveGatherV2",
        "CollectiveBcastSend",
        "CollectiveBcastRecv",
        "Abort",
    }
)
"""Read files or talk to other processes in ordinary models too; text tables from `assets/` are expected."""

READS_FILES = FILE_OPS | READER_OPS
"""With one of these a graph may read its assets when it is loaded or run."""
TABLE_OPS = frozenset({"InitializeTableFromTextFile", "InitializeTableFromTextFileV2"})
_SAVER: tuple[Severity, str] = ("error", "reads or writes checkpoint files when it runs")
"""SAVER_OPS, expected where the graph has a saver and no signature reaches them."""
_CHECKPOINTS: dict[str, tuple[Severity, str]] = {
    **dict.fromkeys(WRITING, ("error", "writes checkpoint files when it runs")),
    **dict.fromkeys(READING, ("warning", "reads checkpoint files when it runs")),
}
"""Every SavedModel has them to be restored with: flagged where a signature reaches them."""
TOLD = 3
"""Signatures that a detail lists."""
WATCHED = CODE_OPS | FILE_OPS | SAVER_OPS | PRINT_OPS | READER_OPS


def unsafe_ops(graph: MetaGraph, path: str) -> list[Finding]:
    """One finding for each flagged op of a meta graph."""
    findings = []
    for op, count in sorted(graph.watched.items()):
        judged = _judge(op, count, graph)
        if judged is None:
            continue
        severity, what = judged
        findings.append(_finding(op, severity, what, count.total, count.places, graph, path))
    for op, found in sorted(graph.reached.items()):
        if op in SAVER_OPS and not graph.has_saver:
            continue
        severity, what = _CHECKPOINTS.get(op, _SAVER)
        findings.append(_finding(op, severity, what, found.total, found.places, graph, path, found.signatures))
    return findings


def _finding(
    op: str,
    severity: Severity,
    what: str,
    total: int,
    nodes: Sequence[str],
    graph: MetaGraph,
    path: str,
    signatures: Sequence[str] = (),
) -> Finding:
    """`signatures`: those that reach the op, where it is flagged for that alone."""
    detail = f"{op} {what}: {total} in meta graph {', '.join(graph.tags) or 'without tags'}, at {', '.join(nodes[:3])}"
    evidence: dict[str, Any] = {"op": op, "count": total, "nodes": list(nodes), "tags": list(graph.tags)}
    if signatures:
        more = ", ..." if len(signatures) > TOLD else ""
        detail += f"; reached by signature {', '.join(signatures[:TOLD])}{more}"
        evidence["signatures"] = list(signatures)
    return notice("unsafe-op", path, detail, evidence, severity=severity)


def _judge(op: str, count: OpCount, graph: MetaGraph) -> tuple[Severity, str] | None:
    if op in PYTHON_OPS:
        return "error", "calls Python code that is not in the file"
    if op in CODE_OPS:
        return "error", "calls native code that is not in the file"
    if op in FILE_OPS:
        return "error", "reaches files or the network when it runs"
    if op in SAVER_OPS:
        return None if graph.has_saver else _SAVER
    if op in PRINT_OPS:
        writes = any(text.startswith(b"file://") for text in count.texts)
        return ("error", "prints into a file") if writes else None
    if op in TABLE_OPS and graph.assets:
        return None
    return "warning", "reads files or talks to other processes when it runs"
