"""What speaks against a bundle, as far as index and file sizes tell; no tensor byte is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.dtypes import ITEMSIZE, NAMES, dtype_name
from ckptui.core.model import Finding, Severity
from ckptui.core.sayings import says
from ckptui.core.text import safe
from ckptui.readers.bundle_entry import Entry, Header
from ckptui.readers.bundle_look import Foreign
from ckptui.readers.bundle_shard_checks import Lost, look_at_misfits, missing, no_data, truncated
from ckptui.readers.bundle_shards import MAX_SHARDS, Shards
from ckptui.readers.sstable import FOOTER, MAGIC, Problem, Table

MAX_RANK = 254
"""TensorFlow's own limit."""
MAX_PER_CODE = 200
"""Findings of one code; the last one counts the rest."""

NEWER_READER = ("The checkpoint asks for a newer reader", "Use the TensorFlow version that wrote it, or a newer one.")


def finding(
    code: str,
    artifact: str,
    detail: str,
    *,
    tensor: str | None = None,
    evidence: Mapping[str, Any] | None = None,
    severity: Severity | None = None,
    title: str = "",
) -> Finding:
    """A finding with the catalogue's severity, title and advice; `unsupported-format` speaks of a newer writer."""
    if code == "unsupported-format":
        words, advice = NEWER_READER
        return make(
            code, artifact, tensor, detail=detail, evidence=evidence, severity="warning", title=words, advice=advice
        )
    return make(code, artifact, tensor, detail=detail, evidence=evidence, severity=severity, title=title or None)


@dataclass(slots=True)
class Verdicts:
    """Per-entry outcomes of `check_entries`."""

    problems: dict[int, str] = field(default_factory=dict)
    """Entry position to why its tensor can't be read."""
    invalid: set[int] = field(default_factory=set)
    """Positions of entries whose own numbers can't be right."""
    ends: dict[int, int] = field(default_factory=dict)
    """Shard to the first byte after its last tensor."""
    findings: list[Finding] = field(default_factory=list)
    foreign: dict[int, Foreign] = field(default_factory=dict)
    """Shards that are something else."""


def index_findings(table: Table, path: str, prefix: str) -> list[Finding]:
    """One finding per contradiction in the table."""
    found: list[Finding] = []
    unproved = sum(len(span) for span in table.unproved)
    for problem in table.problems:
        if problem.duplicate is not None:
            name = problem.duplicate.decode("utf-8", "backslashreplace")
            detail = f"{safe(name, 200)} has two entries; the first is shown"
            found.append(finding("duplicate-key", prefix, detail, tensor=name, evidence={"file": path}))
            continue
        evidence: dict[str, Any] = {
            "file": path,
            "where": problem.where,
            "offset": problem.offset,
            "reason": problem.reason,
        }
        if problem.cause:
            evidence["cause"] = problem.cause
        if problem.expected is not None or problem.found is not None:
            evidence |= {"expected": problem.expected, "found": problem.found}
        evidence |= problem.facts
        if problem.cosmetic:
            evidence["cosmetic"] = True
        else:
            if problem.where == "data block" and problem.offset:
                # the reader's loop over the entries ends at such a block as if it had come to the end
                evidence["tensorflow_omits"] = "every tensor from this block on, without a word"
            evidence |= {"entries_read": len(table.keys), "entries_unproved": unproved}
            evidence |= _tensorflow_on(problem, table.size, path)
        found.append(
            finding(
                _CODES.get(problem.cause, "index-damaged"),
                prefix,
                f"{problem.where} at byte {problem.offset} of {table.size}: {problem.reason}",
                evidence=evidence,
                severity="warning" if problem.cosmetic else None,
                title="The index is damaged where no reader looks" if problem.cosmetic else "",
            )
        )
    return found


_CODES = {"zero-filled": "zero-filled", "empty": "empty-file"}


def _tensorflow_on(problem: Problem, size: int, path: str) -> dict[str, str]:
    """What TensorFlow says when it meets this problem of an index; nothing where it differs from case to case."""
    if size < FOOTER:
        return {"tensorflow_says": says("short-index")}
    if problem.cause in ("truncated", "appended") or (problem.where, problem.cause) == ("file", "zero-filled"):
        return {"tensorflow_says": says("bad-magic")}
    if problem.facts.get("expected") == MAGIC.hex():
        return {"tensorflow_says": says("bad-magic")}
    checksum = problem.expected is not None or problem.cause == "flipped"
    if problem.where == "data block" and checksum and not problem.offset:
        return {"tensorflow_says": says("block-checksum", file=path)}
    if problem.where == "index block" and checksum:
        return {"tensorflow_says": says("directory-checksum")}
    found = problem.facts.get("found")
    if problem.where == "footer" and found:
        return {"tensorflow_says": says("directory-beyond" if sum(found) + 5 > size else "directory-checksum")}
    return {}


def capped(findings: Iterable[Finding], prefix: str) -> Iterator[Finding]:
    """At most `MAX_PER_CODE` findings of each code, then one that says how many more there are."""
    seen: dict[str, int] = {}
    for item in findings:
        seen[item.code] = seen.get(item.code, 0) + 1
        if seen[item.code] <= MAX_PER_CODE:
            yield item
    for code, count in seen.items():
        if count > MAX_PER_CODE:
            rest = count - MAX_PER_CODE
            yield finding(code, prefix, f"{rest} more like these", evidence={"more": rest, "count": count})


def entry_fault(entry: Entry) -> str:
    """Why an entry can't be right, by itself; empty when nothing speaks against it."""
    if entry.fault:
        return f"its record can't be read: {entry.fault}"
    dtype = dtype_name(entry.dtype)
    if entry.dtype not in NAMES:
        return f"no dtype has the number {entry.dtype}"
    if len(entry.shape) > MAX_RANK:
        return f"rank {len(entry.shape)}, at most {MAX_RANK} exist"
    if entry.shape and min(entry.shape) < 0:
        return f"negative dimension {min(entry.shape)}"
    count = prod(entry.shape)
    if count >= 1 << 63:
        return f"{count} elements, more than 64 bits count"
    if entry.slices:
        return ""
    if entry.offset < 0 or entry.size < 0:
        return f"offset {entry.offset}, size {entry.size}"
    itemsize = ITEMSIZE.get(dtype)
    if itemsize is not None:
        if entry.size != count * itemsize:
            return f"{entry.size} bytes stored, shape and dtype need {count * itemsize}"
    elif dtype == "resource":
        return "resources are never stored"
    elif entry.size < (5 * count if dtype == "variant" else count + 4 * bool(count)):
        return f"{entry.size} bytes can't hold {count} {dtype} elements"
    return ""


def shard_fault(entry: Entry, shards: Shards) -> str:
    """Why an entry's bytes can't be in its shard; empty where they are."""
    if entry.slices:
        return ""
    if not 0 <= entry.shard < shards.count:
        return f"shard {entry.shard} of {shards.count}"
    size = shards.size(entry.shard)
    if size is None:
        return f"shard {entry.shard} is missing"
    missing = entry.offset + entry.size - size
    return f"its shard ends {min(missing, entry.size)} bytes too early" if missing > 0 else ""


def check_entries(
    entries: Sequence[Entry], positions: Iterable[int], label: Callable[[int], str], shards: Shards
) -> Verdicts:
    """Hold the entries at `positions` against themselves, their shard and their neighbours.

    `label` names the tensor of an entry.
    """
    prefix = shards.prefix
    verdicts = Verdicts()
    absent: dict[int, Lost] = {}
    cut: list[int] = []
    spans: list[tuple[int, int, int, int]] = []
    sizes, needs = shards.sizes, _Needs()
    for position in positions:
        entry = entries[position]
        _, shape, shard, offset, size, _, slices, fault = entry
        if (
            not (fault or slices)
            and size == needs[entry.dtype, shape]
            and offset >= 0 <= sizes.get(shard, -1) - offset - size
        ):
            if size:
                spans.append((shard, offset, offset + size, position))
            continue
        fault = entry_fault(entry)
        if fault:
            verdicts.invalid.add(position)
        else:
            fault = shard_fault(entry, shards)
        if fault:
            verdicts.problems[position] = fault
        if slices or position in verdicts.invalid:
            continue
        if shard in sizes:
            if fault:
                cut.append(position)
            if size:
                spans.append((shard, offset, offset + size, position))
        elif 0 <= shard < shards.count:
            absent.setdefault(shard, Lost()).add(entry, partial(label, position))
        else:
            verdicts.invalid.add(position)
    spans.sort()
    wrong = sorted(verdicts.invalid.union(_overlaps(spans, label, verdicts.problems)))
    verdicts.ends = ends = dict.fromkeys(shards.sizes, 0)
    for shard, _, end, _ in spans:
        ends[shard] = max(ends[shard], end)
    found = [_invalid(entries[position], label(position), verdicts.problems[position], prefix) for position in wrong]
    found += missing(shards, absent)
    verdicts.foreign = look_at_misfits(shards, ends)
    if verdicts.foreign:
        found += _no_data(entries, spans, label, shards, verdicts)
        cut = [position for position in cut if entries[position].shard not in verdicts.foreign]
    found += [truncated(entries[position], label(position), shards, ends) for position in cut]
    verdicts.findings = found
    return verdicts


def _no_data(
    entries: Sequence[Entry],
    spans: Iterable[tuple[int, int, int, int]],
    label: Callable[[int], str],
    shards: Shards,
    verdicts: Verdicts,
) -> list[Finding]:
    """One finding per data file that is something else; its tensors are unreadable for that reason."""
    lost = {number: Lost() for number in verdicts.foreign}
    for shard, _, _, position in spans:
        if shard in lost and position not in verdicts.invalid:
            lost[shard].add(entries[position], partial(label, position))
            verdicts.problems[position] = f"its data file is no data: {verdicts.foreign[shard].looks_like}"
    return [no_data(number, other, shards, lost[number]) for number, other in sorted(verdicts.foreign.items())]


class _Needs(dict[tuple[int, tuple[int, ...]], int]):
    """Bytes that a dtype and shape need, worked out once per pair; -1 where `entry_fault` has to look closer."""

    def __missing__(self, pair: tuple[int, tuple[int, ...]]) -> int:
        dtype, shape = pair
        itemsize = ITEMSIZE.get(NAMES.get(dtype, ""))
        if itemsize is None or len(shape) > MAX_RANK or min(shape, default=0) < 0:
            needed = -1
        else:
            needed = prod(shape) * itemsize
        self[pair] = needed = -1 if needed >= 1 << 63 else needed
        return needed


def _invalid(entry: Entry, name: str, problem: str, prefix: str) -> Finding:
    return finding("entry-invalid", prefix, problem, tensor=name, evidence=_facts(entry) | _sizes(entry, name))


def _sizes(entry: Entry, name: str) -> dict[str, Any]:
    """Bytes needed and stored, where they contradict each other."""
    itemsize = ITEMSIZE.get(dtype_name(entry.dtype))
    if (
        itemsize is None
        or entry.slices
        or entry.fault
        or len(entry.shape) > MAX_RANK
        or min(entry.shape, default=0) < 0
    ):
        return {}
    needed = prod(entry.shape) * itemsize
    if needed == entry.size or needed >= 1 << 63:
        return {}
    told = says("entry-size", tensor=name, stored=entry.size, expected=needed)
    return {"expected": needed, "found": entry.size, "tensorflow_says": told}


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "dtype": dtype_name(entry.dtype),
        "shape": list(entry.shape[:16]),
        "shard": entry.shard,
        "offset": entry.offset,
        "bytes": entry.size,
    }


def _overlaps(
    spans: list[tuple[int, int, int, int]], label: Callable[[int], str], problems: dict[int, str]
) -> list[int]:
    """Positions of entries that claim bytes of one before them, given spans sorted by shard and offset."""
    found: list[int] = []
    last: tuple[int, int, int, int] | None = None
    for span in spans:
        if last is not None and span[0] == last[0] and span[1] < last[2]:
            for one, other in (span, last), (last, span):
                if one[3] not in problems:
                    problems[one[3]] = f"shares bytes with {safe(label(other[3]), 200)}"
                    found.append(one[3])
            if span[2] <= last[2]:
                continue
        last = span
    return found


def header_findings(header: Header, path: str, prefix: str) -> list[Finding]:
    """What the header record gives away."""
    found = []
    if header.fault or not 0 < header.shards <= MAX_SHARDS:
        reason = header.fault or f"it calls for {header.shards} shards"
        evidence = {"file": path, "where": "header", "offset": 0, "reason": reason, "shards": header.shards}
        found.append(finding("index-damaged", prefix, f"the header record: {reason}", evidence=evidence))
    if header.min_consumer > 1:
        evidence = {
            "file": path,
            "min_consumer": header.min_consumer,
            "supported": 1,
            "tensorflow_says": says("consumer", min_consumer=header.min_consumer),
        }
        detail = f"readers of version {header.min_consumer} and later only; TensorFlow 2.21 is version 1"
        found.append(finding("unsupported-format", prefix, detail, evidence=evidence))
    return found
