"""What is known so far about every save below the paths: kept by the screen, fed by messages, pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from ckptui.core.model import Finding, Found, Listing, RunFolder, Status, TensorScan, Watched
from ckptui.core.settling import Closer, Key, key_of
from ckptui.core.text import human_count
from ckptui.errors import CkptuiError
from ckptui.ui.tensor_rows import Flag, TensorRows, flag_of

Phase = Literal["unread", "opening", "quick", "checking", "checked", "failed"]
"""`quick`: only the quick checks are done; `checked`: every byte was read."""

BadgeKind = Literal["busy", "unchecked", "ok", "read", "error", "warning", "info"]


@dataclass(frozen=True, slots=True)
class Badge:
    """What stands at the right of a save's row."""

    kind: BadgeKind
    count: int = 0


class SaveRecord:
    """One save: what discovery said, then its listing, then what the check says tensor by tensor."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.phase: Phase = "unread"
        self.findings: list[Finding] = []
        """Every finding so far, each once."""
        self.counts: Counter[str] = Counter()
        """How many findings of each severity."""
        self.flags: dict[str, Flag] = {}
        """State words by tensor name."""
        self.rows: TensorRows | None = None
        """The tensors as first shown; None until the save is opened."""
        self.scans: dict[str, TensorScan] = {}
        self.read = False
        """Every byte was read once; stays true while it is opened anew or looked at again."""
        self.known = False
        """What a full check of these very files came to was kept: telling it costs nothing."""
        self.kept_since: float | None = None
        """When the bytes were read, where that was in an earlier check of the same files."""
        self.error: CkptuiError | None = None
        self.gone = False
        """It was removed while it was on show."""
        self._known: dict[Key, Finding] = {}
        self._of_tensor: dict[str, list[Finding]] = {}
        self.learn(found.findings)

    def opened(self, findings: Iterable[Finding]) -> bool:
        """Take the findings of its listing for those of the first look, which they repeat or know better."""
        if not self.scans and list(self.found.findings) == self.findings:
            self.findings, self._known, self._of_tensor, self.flags = [], {}, {}, {}
            self.counts.clear()
        return self.learn(findings)

    def learn(self, findings: Iterable[Finding]) -> bool:
        """Add findings not told yet, in the place of those they replace; True if there was one."""
        fresh: list[Finding] = []
        for finding in findings:
            key = key_of(finding)
            known = self._known.get(key)
            if known is None or (finding.tensor is not None and known != finding):
                self._known[key] = finding
                fresh.append(finding)
        if not fresh:
            return False
        touched = {finding.tensor for finding in fresh if finding.tensor is not None}
        self._forget(Closer(fresh), touched)
        for finding in fresh:
            self.findings.append(finding)
            self.counts[finding.severity] += 1
            if finding.tensor is not None:
                self._of_tensor.setdefault(finding.tensor, []).append(finding)
        for name in touched:
            self.flags[name] = flag_of(self._of_tensor[name])
        return True

    def _forget(self, closer: Closer, touched: Iterable[str]) -> None:
        """Drop what is told better by now, of these tensors and of none."""
        mangled = [f for f in self.findings if f.tensor is None and closer.replaces(f)] if closer.mangled else []
        gone = {id(f) for name in touched for f in self._of_tensor.get(name, ()) if closer.replaces(f)}
        gone |= {id(f) for f in mangled}
        if not gone:
            return
        for finding in self.findings:
            if id(finding) in gone:
                self.counts[finding.severity] -= 1
                if self._known.get(key_of(finding)) is finding:
                    del self._known[key_of(finding)]
        self.findings = [f for f in self.findings if id(f) not in gone]
        for name in touched:
            self._of_tensor[name] = [f for f in self._of_tensor.get(name, ()) if id(f) not in gone]

    @property
    def listing(self) -> Listing | None:
        """What the save says about itself; None until it is opened."""
        return self.rows.source.listing if self.rows is not None else None

    @property
    def vouched(self) -> bool:
        """Every byte agrees with a stored checksum: tensor by tensor, or an archive's members as a whole."""
        if self.found.kind == "keras-archive":
            return self.read
        return bool(self.scans) and all(scan.checksum == "ok" for scan in self.scans.values())

    @property
    def unlooked(self) -> int:
        """Kernels that a check read, but did not look at filter by filter: they are too large for that."""
        return sum(f.code == "unsupported-format" and f.tensor is not None for f in self.findings)

    @property
    def outcome(self) -> str:
        """What a full check came to, in one line."""
        total = self.listing.artifact.tensors if self.listing is not None else len(self.scans)
        read = sum(scan.checksum != "unread" for scan in self.scans.values())
        words = f"{human_count(read)} of {human_count(total)} tensors read"
        count = self.counts["error"] + self.counts["warning"]
        if self.unlooked:
            words += f", {human_count(self.unlooked)} too large to be looked at filter by filter"
        if count:
            return f"{words}, {human_count(count)} finding{'s' if count != 1 else ''}"
        return f"{words}, " + (
            "every checksum agrees" if self.vouched else "nothing found; no checksum vouches for them"
        )

    @property
    def status(self) -> Status:
        """What is known of it so far, as the commands put it."""
        if self.counts["error"] or self.phase == "failed":
            return "error"
        if self.phase in ("unread", "opening"):
            return "unchecked"
        return "warning" if self.counts["warning"] else "ok"

    @property
    def badge(self) -> Badge:
        """Errors before warnings; the tick only after a full check: every checksum agreed, all filters were seen."""
        errors = self.counts["error"] or int(self.phase == "failed")
        if errors:
            return Badge("error", errors)
        if self.counts["warning"]:
            return Badge("warning", self.counts["warning"])
        if self.phase in ("opening", "checking"):
            return Badge("busy")
        if self.read:
            return Badge("ok" if self.vouched and not self.unlooked else "read")
        return Badge("unchecked")


@dataclass(slots=True)
class News:
    """What has changed among the saves."""

    appeared: list[Found] = field(default_factory=list)
    changed: list[Found] = field(default_factory=list)
    gone: dict[str, str] = field(default_factory=dict)
    """Label by path."""
    runs: set[str] = field(default_factory=set)
    """Paths of runs whose saves are others now."""
    mark_gone: bool = False
    other: bool = False
    """Something else than saves: a state file, a notice."""

    def __bool__(self) -> bool:
        return bool(self.appeared or self.changed or self.gone or self.runs or self.other)

    @property
    def appeared_names(self) -> list[str]:
        """Untrusted."""
        return [found.label for found in self.appeared]

    @property
    def changed_names(self) -> list[str]:
        """Untrusted."""
        return [found.label for found in self.changed]

    @property
    def gone_names(self) -> list[str]:
        """Untrusted."""
        return list(self.gone.values())


SAME_AGE_SECONDS = 120.0
"""Saves whose times differ by less are taken for equally new."""


class Ledger:
    """Saves in the order they were met, runs, and notices that belong to no save."""

    def __init__(self) -> None:
        self.saves: dict[str, SaveRecord] = {}
        self.runs: dict[str, RunFolder] = {}
        self.notices: list[Finding] = []
        self.mark: str | None = None
        """Path of the save marked A."""
        self.over_time: dict[str, tuple[Finding, ...]] = {}
        """What the timeline of a run came to, by the run's path."""

    def add(self, items: Iterable[Found | RunFolder | Finding]) -> None:
        """Take in what discovery met."""
        for item in items:
            if isinstance(item, Found):
                self.saves.setdefault(item.path, SaveRecord(item))
            elif isinstance(item, RunFolder):
                self.runs[item.path] = item
            else:
                self.notices.append(item)

    def watched(self, told: Watched, on_show: str | None) -> News:
        """Take in what became of the saves; one that went while it is `on_show` stays, `gone`, until it is left."""
        news = News(other=bool(told.findings))
        for found in told.appeared:
            known = self.saves.get(found.path)
            (news.appeared if known is None or known.gone else news.changed).append(found)
        news.changed += [found for found in told.changed if found not in news.changed]
        for found in (*news.appeared, *news.changed):
            self.saves[found.path] = SaveRecord(found)
            news.runs |= {found.run} - {""}
        for path in told.gone:
            record = self.saves.get(path)
            if record is None or record.gone:
                continue
            news.gone[path] = record.found.label
            news.runs |= {record.found.run} - {""}
            if path == on_show:
                record.gone = True
            else:
                del self.saves[path]
            if path == self.mark:
                self.mark, news.mark_gone = None, True
        for run in told.runs:
            self._take_run(run)
            news.other = True
        self.notices += [finding for finding in told.findings if finding not in self.notices]
        return news

    def _take_run(self, run: RunFolder) -> None:
        """A run as it is now; its saves know that they belong to it, and which is the latest."""
        if run.saves:
            self.runs[run.path] = run
        else:
            self.runs.pop(run.path, None)
        for path in run.saves:
            record = self.saves.get(path)
            if record is not None:
                record.found = replace(record.found, run=run.path, latest=path == run.latest)

    def newest(self) -> str | None:
        """The save to begin with; None without saves.

        Of those about as new as the newest (a copy or checkout makes them all so) the one least deep in folders, a
        run's latest before lone ones, then by name.
        """
        readable = [r.found for r in self.saves.values() if not r.found.findings]
        candidates = readable or [r.found for r in self.saves.values()]
        if not candidates:
            return None
        newest = max(found.modified for found in candidates)
        recent = [f for f in candidates if newest - f.modified <= SAME_AGE_SECONDS]
        return min(recent, key=lambda f: (_depth(f), not f.latest, f.folder, -(f.step or -1), f.label)).path

    def run_of(self, path: str) -> RunFolder | None:
        """The run a save belongs to."""
        record = self.saves.get(path)
        return self.runs.get(record.found.run) if record is not None else None

    def previous(self, path: str) -> str | None:
        """The save before this one in its run."""
        run = self.run_of(path)
        if run is None or path not in run.saves:
            return None
        place = run.saves.index(path)
        return run.saves[place - 1] if place else None

    def findings_of_run(self, run: RunFolder) -> tuple[Finding, ...]:
        """What is said of a run: by the look at its folder, and by its timeline."""
        return (*run.findings, *self.over_time.get(run.path, ()))

    def known_of(self, run: RunFolder) -> tuple[dict[str, Status], dict[str, bool]]:
        """For each save of a run what is known of it, and whether every byte of it was read."""
        records = {path: self.saves[path] for path in run.saves if path in self.saves}
        return (
            {path: record.status for path, record in records.items()},
            {path: record.read for path, record in records.items()},
        )

    def all_findings(self, path: str) -> tuple[Finding, ...]:
        """A save's own findings, then those of its run."""
        record = self.saves.get(path)
        run = self.run_of(path)
        return (*(record.findings if record else ()), *(self.findings_of_run(run) if run else ()))

    def totals(self) -> tuple[int, int]:
        """Errors and warnings over everything met; a save that can't be opened is an error."""
        told = [f for run in self.runs.values() for f in self.findings_of_run(run)] + self.notices
        totals: Counter[str] = Counter(f.severity for f in told)
        for record in self.saves.values():
            totals.update(record.counts)
            totals["error"] += record.phase == "failed" and not record.counts["error"]
        return totals["error"], totals["warning"]


def _depth(found: Found) -> int:
    """How deep a save lies; a run counts as one save in the folder above it."""
    return found.run.count("/") - 1 if found.run else found.folder.count("/")
