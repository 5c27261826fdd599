"""Ops through which a graph reaches outside itself when it is run: code, files, network.

A list of what is known, not a proof of harmlessness: "no flagged ops found" is the most that can be said.
"""

from __future__ import annotations

from ckptui.core.model import Finding, Severity
from ckptui.readers.graph_facts import OpCount
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
        "DataServiceDataset",
        "DataServiceDatasetV2",
        "DataServiceDatasetV3",
        "DataServiceDatasetV4",
    }
)
"""Touch files or the network under names the graph chooses."""

SAVER_OPS = frozenset({"Save", "SaveSlices", "Restore", "RestoreSlice"})
"""The V1 saver's own: expected where the graph has a saver, file access elsewhere."""

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
WATCHED = CODE_OPS | FILE_OPS | SAVER_OPS | PRINT_OPS | READER_OPS


def unsafe_ops(graph: MetaGraph, path: str) -> list[Finding]:
    """One finding for each flagged op of a meta graph."""
    findings = []
    for op, count in sorted(graph.watched.items()):
        judged = _judge(op, count, graph)
        if judged is None:
            continue
        severity, what = judged
        places = ", ".join(count.places[:3])
        detail = f"{op} {what}: {count.total} in meta graph {', '.join(graph.tags) or 'without tags'}, at {places}"
        evidence = {"op": op, "count": count.total, "nodes": count.places, "tags": list(graph.tags)}
        findings.append(notice("unsafe-op", path, detail, evidence, severity=severity))
    return findings


def _judge(op: str, count: OpCount, graph: MetaGraph) -> tuple[Severity, str] | None:
    if op in PYTHON_OPS:
        return "error", "calls Python code that is not in the file"
    if op in CODE_OPS:
        return "error", "calls native code that is not in the file"
    if op in FILE_OPS:
        return "error", "reaches files or the network when it runs"
    if op in SAVER_OPS:
        return None if graph.has_saver else ("error", "reads or writes checkpoint files when it runs")
    if op in PRINT_OPS:
        writes = any(text.startswith(b"file://") for text in count.texts)
        return ("error", "prints into a file") if writes else None
    if op in TABLE_OPS and graph.assets:
        return None
    return "warning", "reads files or talks to other processes when it runs"
