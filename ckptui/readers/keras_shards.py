"""Keras weights in several files: `X.weights.json` and its shards, read as one save. Runs in the reader child only.

Every dataset of every shard is a tensor under its full name, in the file it lies in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import Artifact, Finding, Kind, Listing, Storage, Tensor
from ckptui.core.names import is_weight, step_of
from ckptui.core.sayings import says
from ckptui.core.text import human_bytes, safe
from ckptui.errors import ChangedWhileReading, CkptuiError, Damaged, NoSuchPath
from ckptui.readers.hdf5_contents import Contents, Tick
from ckptui.readers.hdf5_types import Described
from ckptui.readers.keras_findings import in_words, limited, listed, note
from ckptui.readers.keras_h5 import Hdf5Reader, tensor_of
from ckptui.readers.keras_layout import Attributes, lay_out
from ckptui.readers.keras_root import folded, root_of
from ckptui.readers.keras_shard_map import ShardMap, parse_map, shards_beside
from ckptui.readers.source import Source

_BITS = {"bool": 1, "int4": 4, "uint4": 4}
"""Dtypes that the map counts in bits."""


MAX_OPEN = 64
"""With more shards than this each is closed when it has been listed."""
PROMISED = 8
"""Variables of a group whose names are looked for where a damaged shard lost them."""


@dataclass(slots=True)
class _Gathered:
    """What the shards hold together."""

    described: dict[str, Described] = field(default_factory=dict)
    attributes: Attributes = field(default_factory=Attributes)
    findings: list[Finding] = field(default_factory=list)


def open_shards(path: str | os.PathLike[str]) -> ShardedWeights:
    """Open sharded weights by their map.

    Raises NoSuchPath for what is no regular file, and, where no shard is beside it either, Damaged as `parse_map`.
    """
    source = Source(path)
    try:
        return ShardedWeights(source)
    except BaseException:
        source.close()
        raise


class Shard:
    """One file of the save."""

    def __init__(self, path: str) -> None:
        """Raises NoSuchPath, Unreadable."""
        self.path = path
        self.name = os.path.basename(path)
        self.source = Source(path)
        self.size, self.modified = self.source.size, self.source.modified
        self.contents: Contents | None = None
        self.refused: Damaged | None = None
        if not self.source.size:
            self.refused = Damaged(f"{self.name} has 0 bytes", code="empty-file", evidence={"file": path})
            return
        try:
            self.contents = Contents(self.source, label=self.name)
        except Damaged as error:
            self.refused = error

    def findings(self) -> list[Finding]:
        """What is wrong with the file, the cause first."""
        if self.refused is not None:
            facts = {"tensorflow_says": says("no-signature"), **self.refused.evidence, "file": self.path}
            return [_closer_look(self.path, self.refused, facts)]
        return self.contents.findings if self.contents is not None else []

    def close(self) -> None:
        """Close the file; doing it twice is harmless."""
        contents, self.contents = self.contents, None
        if contents is not None:
            contents.close()
        self.source.close()


def _closer_look(path: str, refused: Damaged, facts: Mapping[str, object]) -> Finding:
    """A shard without an HDF5 signature: what its first bytes say it is instead."""
    from ckptui.readers.sniff import sniff

    seen = sniff(path)
    code = seen.code if seen.code in ("not-a-model", "empty-file", "zero-filled") else refused.code
    detail = f"{os.path.basename(path)}: {seen.reason or refused.detail}"
    return note(code, path, detail, evidence={**seen.evidence, **facts})


class ShardedWeights(Hdf5Reader):
    """All shards of one save; named by the path of the map."""

    def __init__(self, source: Source) -> None:
        super().__init__(source, None)
        self._shards: dict[str, Shard] = {}
        self._home: dict[str, Shard] = {}
        self._reopened: Shard | None = None
        self._problem: Damaged | None = None
        self._unreadable: dict[str, Damaged] = {}
        try:
            self.map = parse_map(source)
        except Damaged as error:
            # Every shard is an HDF5 file of its own: without the map all that are called so are taken.
            self._problem = error
            self.map = ShardMap(source.path, files=tuple(shards_beside(source.path)))
            if not self.map.files:
                raise

    @property
    def kind(self) -> Kind:
        """Always `keras-weights`."""
        return "keras-weights"

    def close(self) -> None:
        """Close every shard; doing it twice is harmless."""
        for shard in (*self._shards.values(), *([self._reopened] if self._reopened is not None else [])):
            shard.close()
        super().close()

    def _opened(self, tensor: Tensor) -> Contents:
        if self._listing is None:
            self.listing()
        shard = self._home.get(tensor.name)
        if shard is None or shard.refused is not None:
            raise Damaged(f"{safe(tensor.name)}: {tensor.problem or 'its shard can not be read'}")
        if shard.contents is None:
            shard = self._again(shard)
        if shard.contents is None:
            raise ChangedWhileReading(f"{shard.path} is not what was listed")
        return shard.contents

    def _again(self, shard: Shard) -> Shard:
        """A shard that was closed to keep few files open, opened once more."""
        if self._reopened is not None and self._reopened.path == shard.path:
            return self._reopened
        if self._reopened is not None:
            self._reopened.close()
        self._reopened = Shard(shard.path)
        if self._reopened.contents is not None:
            self._reopened.contents.read()
        return self._reopened

    def _make(self, tick: Tick | None) -> Listing:
        gathered, missing = self._take_all(tick)
        described, findings = gathered.described, gathered.findings
        absent = self._absent(missing)
        shapes = {name: facts.shape for name, facts in described.items()}
        layout = lay_out(shapes, gathered.attributes, None, "objects")
        tensors = [tensor_of(name, facts, layout.places[name]) for name, facts in described.items()]
        tensors += [_lost(group, missing) for group in absent]
        findings = [*self._about_map(), *self._about_missing(missing, tensors), *findings]
        if not any(f.severity == "error" for f in findings):
            findings += self._against_map(described)
        findings += self._orphans()
        self._source.fence()
        label = os.path.basename(self.path)
        times = [shard.modified for shard in self._shards.values()]
        artifact = Artifact(
            path=self.path,
            kind=self.kind,
            label=label,
            step=step_of(label),
            bytes=self._source.size + sum(shard.size for shard in self._shards.values()),
            shards=len(self.map.files),
            tensors=len(tensors),
            parameters=sum(t.count for t in tensors if not t.problem and is_weight(t.role, t.dtype)),
            modified=max([self._source.modified, *times]),
            writer={"keras": "3"},
        )
        return Listing(artifact, tuple(tensors), (), (), ()).with_findings(limited(findings))

    # ------------------------------------------------------------------ reading

    def _path_of(self, name: str) -> str:
        return os.path.join(os.path.dirname(self.path), name)

    def _take_all(self, tick: Tick | None) -> tuple[_Gathered, list[str]]:
        """Every shard's datasets under one roof, and the names of shards that are not there."""
        gathered, missing = _Gathered(), []
        for name in self.map.files:
            try:
                shard = self._shards[name] = Shard(self._path_of(name))
            except NoSuchPath:
                missing.append(name)
                continue
            except Damaged as error:
                self._unreadable[name] = error
                facts = {**error.evidence, "file": self._path_of(name)}
                gathered.findings.append(note(error.code, self.path, f"{name}: {error.detail}", evidence=facts))
                continue
            self._take(shard, gathered, tick)
            if len(self.map.files) > MAX_OPEN:
                shard.close()
        return gathered, missing

    def _take(self, shard: Shard, gathered: _Gathered, tick: Tick | None) -> None:
        name, contents = shard.name, shard.contents
        if contents is None:
            gathered.findings += [self._of_shard(one, name) for one in shard.findings()]
            return
        groups = [group for group, files in self.map.groups.items() if name in files]
        contents.promised = [f"{group}/{number}" for group in groups for number in range(PROMISED)]
        contents.read(tick)
        gathered.attributes.names.update(contents.attributes.names)
        strangers = []
        for dataset, facts in contents.described.items():
            listed_here = name in self.map.groups.get(dataset.rpartition("/")[0], ())
            if self._problem is None and not listed_here and not facts.problem:
                strangers.append(dataset)
            if dataset not in gathered.described or listed_here:
                gathered.described[dataset] = facts
                self._home[dataset] = shard
        gone = self._gone_from(name, contents)
        short = [self._group_missing(name, gone)] if gone and not contents.missed(listed(gone)) else []
        own = [*contents.findings, *contents.unsupported(), *short]
        root = root_of(own)
        gathered.findings += [self._of_shard(one, name) for one in (own if root is None else folded(root, own))]
        if strangers and root is None:
            gathered.findings.append(self._strangers(name, strangers))

    def _gone_from(self, name: str, contents: Contents) -> list[str]:
        """Groups the map puts into this shard and that hold nothing there."""
        there = {dataset.rpartition("/")[0] for dataset in contents.described}
        return [group for group, files in self.map.groups.items() if name in files and group not in there]

    def _absent(self, missing: list[str]) -> list[str]:
        """Groups of which every shard is gone: nothing but their names is known."""
        refused = (name for name, shard in self._shards.items() if shard.refused is not None)
        gone = {*missing, *refused, *self._unreadable}
        return [group for group, files in self.map.groups.items() if files and gone.issuperset(files)]

    # ------------------------------------------------------------------ findings

    def _of_shard(self, finding: Finding, name: str) -> Finding:
        """A shard's finding as one of the whole save."""
        evidence = {**finding.evidence, "file": self._path_of(name), "shard": name}
        evidence.pop("member", None)
        detail = finding.detail if name in finding.detail else f"{name}: {finding.detail}"
        return replace(finding, artifact=self.path, detail=detail, evidence=evidence)

    def _about_map(self) -> list[Finding]:
        findings = []
        problem = self._problem
        if problem is not None:
            shown = f"{len(self._shards)} shards found by their names are read all the same"
            detail = f"{os.path.basename(self.path)}: {problem.detail}; {shown}"
            title = "The map of the shards is damaged" if problem.code == "index-damaged" else None
            advice = "Each shard is whole by itself: the map can be written again from what they hold."
            findings.append(
                note(problem.code, self.path, detail, evidence=problem.evidence, title=title, advice=advice)
            )
        if self.map.outside:
            detail = f"{in_words(self.map.outside)}: the map leads out of its folder"
            findings.append(
                note("external-reference", self.path, detail, evidence=listed(self.map.outside), severity="error")
            )
        return findings

    def _about_missing(self, missing: list[str], tensors: list[Tensor]) -> list[Finding]:
        findings = []
        for name in missing:
            groups = [group for group, files in self.map.groups.items() if name in files]
            alone = [group for group in groups if self.map.groups[group] == (name,)]
            where = self._path_of(name)
            detail = f"{name} is not there: {len(groups)} groups of weights lie in it, {in_words(groups)}"
            facts = {
                "file": where,
                "shard": name,
                "groups": groups[:200],
                "count": len(groups),
                "tensors": [t.name for t in tensors if t.problem and t.name in alone][:200],
                "tensorflow_says": says("no-shard-file", file=where),
            }
            findings.append(note("shard-missing", self.path, detail, evidence=facts))
        return findings

    def _group_missing(self, name: str, groups: list[str]) -> Finding:
        detail = f"{in_words(groups)}: the map says they are in {name}, they are not"
        facts = {**listed(groups), "file": self._path_of(name), "shard": name}
        facts["layers"] = [{"layer": _layer(group), "found": 0} for group in groups[:20]]
        return note("weights-missing", self.path, detail, evidence=facts)

    def _strangers(self, name: str, datasets: list[str]) -> Finding:
        detail = f"{in_words(datasets)}: in {name}, but the map does not say so; Keras does not load them"
        facts = {**listed(datasets), "file": self._path_of(name), "shard": name}
        return note("weights-unexpected", self.path, detail, evidence=facts)

    def _against_map(self, described: Mapping[str, Described]) -> list[Finding]:
        """Gaps in the numbers of a group's variables, and the sum of all sizes; only where nothing else is wrong."""
        gaps: list[str] = []
        told: list[dict[str, Any]] = []
        for group in self.map.groups:
            numbers = [n.rpartition("/")[2] for n in described if n.rpartition("/")[0] == group]
            if not numbers or not all(number.isdigit() and len(number) < 10 for number in numbers):
                continue
            there = {int(number) for number in numbers}
            lacking = [n for n in range(max(there) + 1) if n not in there]
            if lacking:
                gaps += [f"{group}/{number}" for number in lacking]
                told.append({"layer": _layer(group), "expected": max(there) + 1, "found": len(there)})
        if gaps:
            first = told[0]
            detail = f"{in_words(gaps)}: variables are counted from 0 on, these are in no shard"
            says_ = says("layer-variables", **first)
            facts = {**listed(gaps), "layers": told[:20], "tensorflow_says": says_}
            return [note("weights-missing", self.path, detail, evidence=facts)]
        if self.map.total_size is None or self._problem is not None:
            return []
        sizes = [_map_bytes(facts) for facts in described.values()]
        total = sum(size for size in sizes if size is not None)
        if None in sizes or total == self.map.total_size:
            return []
        told_size, held = human_bytes(int(self.map.total_size)), human_bytes(int(total))
        detail = f"the map says {told_size} of weights, the shards hold {held}: they are of different saves"
        facts = {"expected": self.map.total_size, "found": total, "file": self.path}
        return [note("index-data-mismatch", self.path, detail, evidence=facts, certainty="likely")]

    def _orphans(self) -> list[Finding]:
        extra = [name for name in shards_beside(self.path) if name not in self.map.files]
        if not extra or (len(extra) == 1 and not self.map.groups and _holds_nothing(self._path_of(extra[0]))):
            # Keras makes its first shard before it knows of any weights: a model without them leaves it.
            return []
        detail = f"{in_words(extra)}: called as shards of this save, and the map names none of them"
        facts = {**listed(extra), "files": [self._path_of(name) for name in extra[:20]]}
        advice = "Left over from an earlier save in more files: Keras does not read them."
        return [note("orphan-shard", self.path, detail, evidence=facts, advice=advice)]


def _holds_nothing(path: str) -> bool:
    """Whether a shard is whole and without a dataset."""
    try:
        shard = Shard(path)
    except CkptuiError:
        return False
    try:
        if shard.contents is None:
            return False
        shard.contents.read()
        return not shard.contents.described and not shard.contents.findings
    finally:
        shard.close()


def _layer(group: str) -> str:
    return group.removesuffix("/vars").rpartition("/")[2] or group


def _lost(group: str, missing: list[str]) -> Tensor:
    """A row for a group whose shards are gone: how many variables it had is not known."""
    why = f"its shard {missing[0]} is missing" if missing else "its shard can't be read"
    return Tensor(group, "unknown", (), 0, layer=_layer(group), storage=Storage("none"), problem=why)


def _map_bytes(facts: Described) -> float | None:
    """What the map counts for a dataset; None where that is not known."""
    if facts.problem or facts.dtype in ("unknown", "string"):
        return None
    count = 1
    for extent in facts.shape:
        count *= extent
    if facts.dtype in _BITS:
        return count * _BITS[facts.dtype] / 8
    return float(count * ITEMSIZE[facts.dtype]) if facts.dtype in ITEMSIZE else None
