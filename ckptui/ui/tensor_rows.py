"""Which tensors the table shows, in which order and under which folds. Pure; sized for 100,000 names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ckptui.core.model import SEVERITY_RANK, Finding, Listing, Severity, Tensor
from ckptui.core.names import natural_key
from ckptui.core.report import state_word

Sort = Literal["worst", "name", "size", "order"]
SORTS: tuple[Sort, ...] = ("worst", "name", "size", "order")
SORT_WORDS: dict[Sort, str] = {
    "worst": "worst first",
    "name": "by name",
    "size": "largest first",
    "order": "as in the file",
}

HUGE = 10_000
"""From here on a lazy listing is not decoded as a whole, and rows are made in a thread."""

_ATTRIBUTES = "/.ATTRIBUTES/VARIABLE_VALUE"
_FOLD_OF_ROLE = {
    "slot": "optimizer",
    "counter": "counters",
    "step": "counters",
    "metric": "metrics",
    "object-graph": "bookkeeping",
    "rng-state": "bookkeeping",
}
_OPTIMIZERS = (
    "adamw", "adamax", "nadam", "adam", "rmsprop", "adagrad", "adadelta", "ftrl", "lamb", "lion", "momentum", "sgd",
)  # fmt: skip
_SLOT_STARTS = ("optimizer/", "_optimizer/", "optimizer_weights/")
_SLOT_ENDS = tuple(
    f"/{name}{number}"
    for name in ("Adam", "Momentum", "RMSProp", "Adagrad", "Adadelta", "Ftrl")
    for number in ("", "_1")
)


@dataclass(frozen=True, slots=True)
class Flag:
    """The words a row shows in its state column."""

    severity: Severity
    words: str


@dataclass(frozen=True, slots=True)
class Fold:
    """Tensors that take one row until they are asked for."""

    key: str
    label: str
    """`optimizer adam`, `counters`."""
    unit: str
    """What its members are called: `slots`; empty where the count says enough."""
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TensorSource:
    """A listing made ready for the table: names at hand, tensors decoded when seen."""

    listing: Listing
    names: Sequence[str]
    """As stored, in file order."""
    fold_of: Mapping[int, str]
    """Fold key of each tensor that belongs to one."""
    optimizer: str = ""
    """`adam`, where the names tell."""
    huge: bool = False
    lowered: Sequence[str] = field(default=(), repr=False)
    """What the filter looks in: every name in lower case, stored and variable's own; of a huge listing none until a
    filter asks."""

    def __len__(self) -> int:
        return len(self.names)

    def tensor(self, index: int) -> Tensor:
        """The tensor of that place; a lazy listing decodes it now."""
        return self.listing.tensors[index]

    def shown_name(self, index: int, *, stored: bool) -> str:
        """The variable's own name where the file knows it, else the stored one without its constant tail."""
        if stored:
            return self.names[index]
        return self.tensor(index).object_path or self.names[index].removesuffix(_ATTRIBUTES)


def make_source(listing: Listing) -> TensorSource:
    """Prepare a listing for the table; a huge lazy one by its names alone."""
    names: Sequence[str] | None = getattr(listing.tensors, "names", None)
    huge = names is not None and len(names) > HUGE
    if names is None or not huge:
        tensors = list(listing.tensors)
        names = [t.name for t in tensors]
        folds = {i: key for i, t in enumerate(tensors) if (key := _FOLD_OF_ROLE.get(t.role))}
        lowered = [f"{t.name}\n{t.object_path}".lower() for t in tensors]
        paths: Iterable[str] = (f"{tensors[i].object_path} {names[i]}" for i in folds if folds[i] == "optimizer")
    else:
        # one look at all names together: most huge listings have no slots by name
        joined = "\n".join(names)
        slots = any(part in joined for part in ("/.OPTIMIZER_SLOT/", *_SLOT_STARTS, *_SLOT_ENDS))
        folds = {i: "optimizer" for i, name in enumerate(names) if _is_slot(name)} if slots else {}
        lowered = []
        paths = (names[i] for i in list(folds)[:100])
    return TensorSource(listing, names, folds, _optimizer_word(paths), huge, lowered)


def _is_slot(name: str) -> bool:
    """By the name alone: what a listing too large to decode is folded by."""
    return "/.OPTIMIZER_SLOT/" in name or name.startswith(_SLOT_STARTS) or name.endswith(_SLOT_ENDS)


def _optimizer_word(paths: Iterable[str]) -> str:
    for path in paths:
        parts = re.split(r"[^a-z]+", path.lower())
        for word in _OPTIMIZERS:
            if word in parts:
                return word
    return ""


def prepare(listing: Listing) -> TensorRows:
    """The rows a listing is first shown with; for a thread, as it may take a while for 100,000 names."""
    groups: dict[str, list[Finding]] = {}
    for finding in listing.findings:
        if finding.tensor is not None:
            groups.setdefault(finding.tensor, []).append(finding)
    flags = {name: flag_of(group) for name, group in groups.items()}
    return build_rows(make_source(listing), RowsQuery(), flags)


def flag_of(findings: Sequence[Finding]) -> Flag:
    """The state words of one tensor: the gravest finding's, and how many more there are."""
    worst = sorted(findings, key=lambda f: -SEVERITY_RANK[f.severity])
    words = list(dict.fromkeys(state_word(f) for f in worst))
    more = f" +{len(words) - 1}" if len(words) > 1 else ""
    return Flag(worst[0].severity, words[0] + more)


@dataclass(frozen=True, slots=True)
class RowsQuery:
    """What the user asked the table to show."""

    text: str = ""
    sort: Sort = "worst"
    unfolded: frozenset[str] = frozenset()
    stored_names: bool = False


@dataclass(frozen=True, slots=True)
class TensorRows:
    """The rows of the table: places in the source, and folds as negative numbers."""

    source: TensorSource
    query: RowsQuery
    order: Sequence[int]
    """A tensor's place, or -1 - n for fold n."""
    folds: tuple[Fold, ...]
    problem: str = ""
    """Why the filter text is no regular expression; it was then looked for as it stands."""

    def __len__(self) -> int:
        return len(self.order)

    def fold_at(self, row: int) -> Fold | None:
        """The fold a row stands for, if it does."""
        place = self.order[row]
        return self.folds[-1 - place] if place < 0 else None

    def row_of(self, place: int) -> int | None:
        """The row that shows the tensor of that place."""
        try:
            return self.order.index(place)
        except ValueError:
            return None


def build_rows(source: TensorSource, query: RowsQuery, flags: Mapping[str, Flag]) -> TensorRows:
    """Filter, sort and fold. While a filter is on, folds are open: it looks into all of them."""
    places, problem = _matching(source, query.text)
    flagged = ((i, flags.get(source.names[i])) for i in places) if flags else ()
    ranks = {place: SEVERITY_RANK[flag.severity] for place, flag in flagged if flag is not None}
    ordered = _sorted(source, places, query, ranks)
    if query.text:
        return TensorRows(source, query, ordered, (), problem)
    order, folds = _folded(source, ordered, query, ranks)
    return TensorRows(source, query, order, folds)


def _matching(source: TensorSource, text: str) -> tuple[Sequence[int], str]:
    if not text:
        return range(len(source)), ""
    needle = text.lower()
    lowered = source.lowered or [name.lower() for name in source.names]
    problem = ""
    if re.search(r"[\\^$*+?()\[\]{}|]", text):
        try:
            search: Callable[[str], object] = re.compile(text, re.IGNORECASE | re.MULTILINE).search
            return [i for i, name in enumerate(lowered) if search(name)], ""
        except (re.error, OverflowError) as error:
            problem = str(error)
    return [i for i, name in enumerate(lowered) if needle in name], problem


def _sorted(source: TensorSource, places: Sequence[int], query: RowsQuery, ranks: Mapping[int, int]) -> Sequence[int]:
    if query.sort == "worst":
        flagged = sorted(ranks, key=lambda i: (-ranks[i], i in source.fold_of, i))
        seen = ranks.keys()
        return [*flagged, *(i for i in places if i not in seen)] if flagged else places
    if query.sort == "name":
        names = source.names
        if source.huge or query.stored_names:
            return sorted(places, key=lambda i: natural_key(names[i]))
        return sorted(places, key=lambda i: natural_key(source.shown_name(i, stored=False)))
    if query.sort == "size":
        tensors = source.listing.tensors
        return sorted(places, key=lambda i: -tensors[i].bytes)
    return places


def _folded(
    source: TensorSource, places: Sequence[int], query: RowsQuery, ranks: Mapping[int, int]
) -> tuple[Sequence[int], tuple[Fold, ...]]:
    """Folds go below the rest; a flagged tensor (warning or error) never hides in one."""
    fold_of = source.fold_of
    if not fold_of:
        return places, ()
    rest: list[int] = []
    groups: dict[str, list[int]] = {key: [] for key in dict.fromkeys(_FOLD_OF_ROLE.values())}
    for place in places:
        key = fold_of.get(place)
        if key is None or ranks.get(place, 0) > 0:
            rest.append(place)
        else:
            groups[key].append(place)
    folds: list[Fold] = []
    for key, members in groups.items():
        if len(members) == 1:
            rest.append(members[0])
        elif members:
            label = f"optimizer {source.optimizer}".strip() if key == "optimizer" else key
            folds.append(Fold(key, label, "slots" if key == "optimizer" else "", tuple(members)))
            rest.append(-len(folds))
            if key in query.unfolded:
                rest.extend(members)
    return rest, tuple(folds)
