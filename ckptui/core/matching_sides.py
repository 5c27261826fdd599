"""The two sides of a matching: what their tensors are called, what kind they are of, and who is paired already."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from ckptui.core.crc import of_repeated
from ckptui.core.dtypes import ITEMSIZE
from ckptui.core.model import ArchitectureRow, Tensor
from ckptui.core.names import clean

Kind = Literal["weight", "slot", "counter", "rng-state", "metric", "text"]
"""Tensors pair only within one of these."""

FEWEST_VALUES = 16
"""Equal bytes of fewer values are no evidence."""
_TEXT = frozenset({"string", "variant", "resource"})
_ONES = {"float32": "0000803f", "float64": "000000000000f03f", "float16": "003c", "bfloat16": "803f"}
AGAIN = "_all_variables/"
"""Where Keras 3 exports keep every variable a second time."""


_UNNAMED = re.compile(r"(?:(.*)/)?Variable(?:_([0-9]{1,9}))?")
"""What TensorFlow calls a variable that nobody named."""


def kind_of(tensor: Tensor) -> Kind:
    """What a tensor may be paired with. A scalar that an optimizer keeps is a counter, whatever the file calls it."""
    role = tensor.role
    if role == "slot":
        return "slot" if tensor.shape else "counter"
    if role in ("counter", "step"):
        return "counter"
    if role == "rng-state" or role == "metric":
        return role
    return "text" if tensor.dtype in _TEXT else "weight"


def own_name(tensor: Tensor) -> str:
    """The variable's own name where the save tells one; a number in a list (`adam/7`) or `Variable_7` is none."""
    path = tensor.object_path
    if not path or (path[-1].isdigit() and path.rpartition("/")[2].isdigit()):
        return ""
    name = clean(path)
    return "" if "Variable" in name and _UNNAMED.fullmatch(name) else name


def variable_name(tensor: Tensor) -> str:
    """The variable's own name, as far as the save tells: `conv1/kernel`."""
    return clean(tensor.object_path or tensor.name)


def roles_agree(one: Tensor, other: Tensor) -> bool:
    """Whether both can be the same variable; a role that its file does not tell fits any."""
    return one.role == other.role or "other" in (one.role, other.role)


@dataclass(slots=True)
class Contents:
    """What is known of the bytes of tensors: where nothing is, `wanted` collects whose would decide."""

    known: Mapping[tuple[int, str], int | None] = field(default_factory=dict)
    """(side, name) to CRC-32C of the elements in C order, little-endian; None where nobody can tell."""
    wanted: set[tuple[int, str]] = field(default_factory=set)

    def of(self, side: int, tensor: Tensor) -> int | None:
        """The tensor's CRC-32C; None where it is no evidence, or must be asked for first."""
        if tensor.count < FEWEST_VALUES or tensor.dtype not in ITEMSIZE or tensor.problem:
            return None
        key = side, tensor.name
        storage, plain = tensor.storage, tensor.bytes == tensor.count * ITEMSIZE[tensor.dtype]
        found: int | None = None
        if key in self.known:
            found = self.known[key]
        elif storage.encoding == "plain" and plain and not (storage.big_endian or storage.npy_dtype):
            found = storage.crc32c
        if found is None and key not in self.known:
            self.wanted.add(key)
        return None if found is None or found in _constants(tensor) else found


def _constants(tensor: Tensor) -> tuple[int, ...]:
    """The checksums of nothing but zeros, and of nothing but ones."""
    size = ITEMSIZE[tensor.dtype]
    one = bytes.fromhex(_ONES[tensor.dtype]) if tensor.dtype in _ONES else (1).to_bytes(size, "little")
    return of_repeated(bytes(size), tensor.count), of_repeated(one, tensor.count)


class Side:
    """One save's tensors without its object graph."""

    def __init__(
        self,
        number: int,
        tensors: Iterable[Tensor],
        architecture: Sequence[ArchitectureRow] = (),
        order: Sequence[str] = (),
    ) -> None:
        self.number = number
        """0: the baseline, 1: the candidate."""
        self.tensors = [t for t in tensors if t.role != "object-graph"]
        self.architecture = architecture
        self.order = order
        """Stored names in the order in which the save lists what its model and its optimizer hold."""
        self.ranks: Mapping[str, int] | None = None
        """Kept for `core.matching_order.ranks`."""
        self.layers: dict[str, str] | None = None
        """Kept for `core.matching_order.layer_ids`."""
        self.renamed: Mapping[str, str] = {}
        self._plain: dict[str, str] = {}
        self._heads: dict[str, str] = {}
        self.kinds: dict[str, Kind] = {}
        """The kinds of those that had no partner at some time, by stored name."""

    @cached_property
    def by_name(self) -> dict[str, Tensor]:
        """Tensors by stored name."""
        return {t.name: t for t in self.tensors}

    @cached_property
    def weights(self) -> list[Tensor]:
        """Weights, each once."""
        return [t for t in self.tensors if t.name not in self.copies and kind_of(t) == "weight"]

    @cached_property
    def copies(self) -> dict[str, str]:
        """Stored names that repeat another tensor, and whom: exported models list every variable twice."""
        found: dict[str, str] = {}
        again = {t.object_path for t in self.tensors if t.name.startswith(AGAIN) and t.object_path}
        doubled = [t for t in self.tensors if t.object_path in again] if again else []
        for check in (True, False):
            groups: dict[Hashable, tuple[list[str], list[str]]] = {}
            for t in doubled:
                if t.name not in found and (check is False or t.storage.crc32c is not None):
                    key = (t.object_path, t.dtype, t.shape, t.storage.crc32c if check else None)
                    groups.setdefault(key, ([], []))[t.name.startswith(AGAIN)].append(t.name)
            taken = set(found.values())
            for firsts, seconds in groups.values():
                free = [name for name in firsts if name not in taken]
                if check or len(free) == len(seconds) == 1:
                    found.update(zip(seconds, free, strict=False))
        return found | nested_optimizers(self.tensors)

    @cached_property
    def place(self) -> dict[str, int]:
        """Stored names in the order of the architecture, where there is one."""
        names = [name for row in self.architecture for name in row.weights]
        return {name: place for place, name in reversed(list(enumerate(names)))}

    def rename(self, parts: Mapping[str, str]) -> None:
        """Call layers otherwise than this save does: they count from another number than on the other side."""
        self.renamed = parts
        self._heads.clear()
        self.layers = None

    def plain(self, tensor: Tensor) -> str:
        """The variable's own name or else the stored one."""
        told = self._plain.get(tensor.name)
        if told is None:
            told = self._plain[tensor.name] = own_name(tensor) or clean(tensor.name)
        return told

    def called(self, tensor: Tensor) -> str:
        """The name to compare: `plain`, but counted as on the other side."""
        told = self.plain(tensor)
        if self.renamed:
            head, slash, leaf = told.rpartition("/")
            if head not in self._heads:
                self._heads[head] = "/".join([self.renamed.get(part, part) for part in head.split("/")])
            told = self._heads[head] + slash + leaf
        return told

    @cached_property
    def doubtful(self) -> frozenset[str]:
        """Own names that several weights bear."""
        seen: set[str] = set()
        twice: set[str] = set()
        for t in self.weights:
            name = own_name(t)
            (twice if name in seen else seen).add(name)
        return frozenset(twice)

    @cached_property
    def root(self) -> str:
        """`sequential/` where the own names of all weights begin so and have a layer besides; else empty."""
        first = ""
        for t in self.weights:
            head, _, rest = self.plain(t).partition("/")
            if "/" not in rest or (first and head != first):
                return ""
            first = head
        return first + "/" if first else ""


_LISTED = re.compile(r"(.*)/(?:vars|_variables)/([0-9]{1,9})")


def listed(name: str) -> tuple[str, int] | None:
    """(list, place) of what an optimizer lists or nobody named: `optimizer/vars/7`, `optimizer_weights/Variable_7`."""
    bare = clean(name)
    match = _LISTED.fullmatch(bare) or _UNNAMED.fullmatch(bare)
    return (match[1] or "", int(match[2] or 0)) if match else None


def nested_optimizers(tensors: Sequence[Tensor]) -> dict[str, str]:
    """Stored names in the list of a loss scale optimizer that repeat the list of the optimizer inside it."""
    lists: dict[str, dict[int, Tensor]] = {}
    if not any("inner_optimizer/vars/" in t.name for t in tensors):
        return {}
    for t in tensors:
        if kind_of(t) in ("slot", "counter") and "/vars/" in t.name:
            found = listed(t.name)
            if found is not None:
                lists.setdefault(found[0], {})[found[1]] = t
    copies: dict[str, str] = {}
    for inner, own in lists.items():
        head, _, last = inner.rpartition("/")
        outer = lists.get(head, {})
        start = len(outer) - len(own)
        if (
            last == "inner_optimizer"
            and start >= 0
            and all(place + start in outer and outer[place + start].shape == t.shape for place, t in own.items())
        ):
            copies.update((outer[place + start].name, t.name) for place, t in own.items())
    return copies


class Pairing:
    """Who is paired with whom so far. Stored names first: what `lone` goes through is gathered after them."""

    def __init__(self, left: Side, right: Side, contents: Contents) -> None:
        self.left, self.right, self.contents = left, right, contents
        self.partner: dict[str, tuple[Tensor, str]] = {}
        """Stored name on the left to the tensor on the right, and by what."""
        self.back: dict[str, Tensor] = {}
        """The same from the right."""

    def pair(self, one: Tensor, other: Tensor, by: str) -> None:
        """Note a pair; an equal stored name is the word for it, whatever else has shown that it may be trusted."""
        self.partner[one.name] = other, "name" if one.name == other.name else by
        self.back[other.name] = one

    def lone(self, *kinds: Kind) -> tuple[list[Tensor], list[Tensor]]:
        """What has no partner yet on either side, of these kinds; without second copies."""
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        taken: tuple[Container[str], Container[str]] = (self.partner, self.back)
        for tensors, free, paired in zip(found, self._free, taken, strict=True):
            for kind in kinds:
                free[kind] = [t for t in free.get(kind, ()) if t.name not in paired]
                tensors += free[kind]
        return found

    @cached_property
    def _free(self) -> tuple[dict[Kind, list[Tensor]], dict[Kind, list[Tensor]]]:
        """By kind, what no stored name has paired."""
        found: tuple[dict[Kind, list[Tensor]], dict[Kind, list[Tensor]]] = ({}, {})
        taken: tuple[Container[str], Container[str]] = (self.partner, self.back)
        for side, free, paired in zip((self.left, self.right), found, taken, strict=True):
            for t in side.tensors:
                if t.name not in paired and t.name not in side.copies:
                    kind = side.kinds[t.name] = kind_of(t)
                    free.setdefault(kind, []).append(t)
        return found

    def part(self, one: Tensor) -> None:
        """Take back the pair of a tensor on the left."""
        other, _ = self.partner.pop(one.name)
        del self.back[other.name]
        for side, free, t in zip((self.left, self.right), self._free, (one, other), strict=True):
            kind = side.kinds[t.name] = kind_of(t)
            free.setdefault(kind, []).append(t)

    def unique(
        self,
        lone: tuple[list[Tensor], list[Tensor]],
        key: Callable[[Side, Tensor], Hashable],
        by: str | Callable[[Tensor, Tensor], str],
        fits: Callable[[Tensor, Tensor], bool] = roles_agree,
    ) -> None:
        """Pair those whose key is borne by one tensor of their kind on each side; None is no key."""
        keyed: list[dict[Hashable, Tensor | None]] = [{}, {}]
        taken: tuple[Container[str], Container[str]] = (self.partner, self.back)
        for side, tensors, found, paired in zip((self.left, self.right), lone, keyed, taken, strict=True):
            kinds = side.kinds
            for t in tensors:
                if t.name in paired:
                    continue
                told = key(side, t)
                if told is not None:
                    name: Hashable = (kinds[t.name], told)
                    found[name] = None if name in found else t
        for name, one in keyed[0].items():
            other = keyed[1].get(name)
            if one is not None and other is not None and fits(one, other):
                self.pair(one, other, by if isinstance(by, str) else by(one, other))
