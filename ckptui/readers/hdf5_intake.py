"""What one walk over an HDF5 file brings in: datasets, the attributes Keras writes, and everything that went wrong.

Runs in the reader child only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from ckptui.core.model import Storage
from ckptui.core.text import safe
from ckptui.errors import Damaged
from ckptui.readers.hdf5_types import Described, Extent, describe
from ckptui.readers.hdf5_walk import HDF5_ERRORS, Item, attribute, names_attribute, reason, text_attribute, to_bytes
from ckptui.readers.keras_layout import TOP_LEVEL, Attributes

USUAL = frozenset({"model_weights", "optimizer_weights", "top_level_model_weights", "layers", "optimizer", "vars"})
"""Groups Keras makes at the root, whatever the model."""
ROOT_TEXTS = ("keras_version", "backend", "model_config")


@dataclass(frozen=True, slots=True)
class Loss:
    """Something HDF5 could not give, and its words for it."""

    kind: Literal["root", "object", "links", "attribute", "text", "caps"]
    """`links`: of a group; `text`: a global heap."""
    path: str
    text: str
    address: int = -1
    """Of the object header; -1 where it is not known."""
    attribute: str = ""


@dataclass(slots=True)
class Intake:
    """The state of one walk."""

    extent: Extent
    described: dict[str, Described] = field(default_factory=dict)
    """Every dataset by path, and what is in the place of one but can't be opened."""
    addresses: dict[str, int] = field(default_factory=dict)
    """Of the object header of each of them, where a link told it."""
    attributes: Attributes = field(default_factory=Attributes)
    texts: dict[str, str] = field(default_factory=dict)
    """The root's text attributes: `keras_version`, `backend`, `model_config`."""
    unreadable: set[str] = field(default_factory=set)
    """Root attributes that are there but can't be read."""
    losses: list[Loss] = field(default_factory=list)
    odd_types: list[int] = field(default_factory=list)
    """Addresses of the headers of datasets whose type can't be what was written."""
    again: bool = False
    """Two links lead to one object."""

    def take(self, item: Item) -> None:
        """Take in one thing met on the walk."""
        if item.kind == "group":
            self._group(item)
        elif item.kind == "dataset":
            self.described[item.path] = describe(item.handle, self.extent)
            self.addresses[item.path] = item.address
        elif item.kind == "external":
            text = f"external link to {safe(item.text)}, not followed"
            facts = Described("unknown", (), 0, Storage("none"), text, "external-reference", {"target": item.text})
            self.described[item.path] = facts
        elif item.kind == "broken":
            self.described[item.path] = lost_object(item.text, self.extent.cut)
            self.addresses[item.path] = item.address
            self.losses.append(Loss("object", item.path, item.text, item.address))
        elif item.kind == "unlisted":
            self.losses.append(Loss("links", item.path, item.text, item.address))
        elif item.kind == "again":
            self.again = True
        elif item.kind == "stopped":
            self.losses.append(Loss("caps", item.path, item.text))

    def named(self) -> Iterator[tuple[str, str]]:
        """(group, path in it) that Keras' attributes say are there, layer groups first."""
        for group, layers in self.attributes.layer_names.items():
            for name in [*layers, TOP_LEVEL]:
                yield group, name
        for group, weights in self.attributes.weight_names.items():
            for name in weights:
                yield group, name

    def promised(self) -> Iterator[str]:
        """Paths that Keras' attributes say are there, layer groups first."""
        for group, name in self.named():
            yield f"{group}/{name}" if group else name

    def absent(self) -> list[str]:
        """Weights that attributes name and no row has."""
        return [
            path
            for group, weights in self.attributes.weight_names.items()
            for path in (f"{group}/{name}" if group else name for name in weights)
            if path not in self.described
        ]

    def is_incomplete(self) -> bool:
        """Whether names that Keras gives elsewhere in the file are missing, or one flipped bit hides one."""
        tops = {path.partition("/")[0] for path in self.described}
        tops |= {path.partition("/")[0] for path in self.attributes.weight_names}
        hidden = any(one_bit(top, usual) for top in tops - USUAL for usual in USUAL - tops)
        numbered = {path.rpartition("/")[0].rpartition("/")[2] for path in self.described if path[-1:].isdecimal()}
        odd = "vars" in numbered and any(_is_misnumbered(path) for path in self.described)
        # Keras never gives an object two names: one of the two leads where it should not.
        odd |= self.again and ("vars" in numbered or bool(self.attributes.layer_names))
        odd |= bool(self.odd_types)
        return hidden or odd or bool(self.absent()) or any(one_bit(name, "vars") for name in numbered)

    def _group(self, item: Item) -> None:
        """Take in the attributes Keras writes to groups."""

        def read(name: str, how: Callable[[Any, str], Any]) -> Any:
            try:
                return how(item.handle, name)
            except (*HDF5_ERRORS, Damaged) as error:
                if not item.path:
                    self.unreadable.add(name)
                self.losses.append(Loss("attribute", item.path, reason(error), item.address, name))
                return None

        found = self.attributes
        if not item.path:
            for name in ROOT_TEXTS:
                text = read(name, text_attribute)
                if text is not None:
                    self.texts[name] = text
            found.numbered = read("nb_layers", attribute) is not None
        if item.path in ("", "model_weights"):
            layers = read("layer_names", names_attribute)
            if layers is not None:
                found.layer_names[item.path] = layers
                self._mark_legacy()
        elif item.path == "vars" or item.path.endswith("/vars"):
            own = read("name", text_attribute)
            if own is not None:
                found.names[item.path] = own
                return
        weights = read("weight_names", names_attribute)
        if weights is not None:
            found.weight_names[item.path] = weights

    def _mark_legacy(self) -> None:
        old = self.extent
        self.extent = Extent(old.path, old.start, old.available, old.cut, legacy_keras=True, zeros=old.zeros)


def one_bit(a: str, b: str) -> bool:
    """Whether two names differ in one bit."""
    one, other = to_bytes(a), to_bytes(b)
    return len(one) == len(other) and sum((x ^ y).bit_count() for x, y in zip(one, other, strict=True)) == 1


def _is_misnumbered(path: str) -> bool:
    """Whether only one of the two says that this is a numbered variable: its own name, or its group's."""
    group, _, name = path.rpartition("/")
    return (group == "vars" or group.endswith("/vars")) != name.isdecimal()


def lost_object(text: str, cut: bool) -> Described:
    """The row of an object that HDF5 can't open."""
    cause = ", most likely cut off" if cut else ""
    return Described("unknown", (), 0, Storage("none"), f"can't be opened{cause}: {text}", "hdf5-damaged")
