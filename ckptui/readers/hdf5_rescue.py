"""Bringing back what the plain walk over a damaged HDF5 file does not reach: mended groups, objects without a link.

Only where something was lost: everything that looks like a structure is found by a scan, what is broken is mended in
memory (`hdf5_mend`), and datasets whose headers are whole are opened by their address. Runs in the reader child only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckptui.readers.hdf5_address import open_at
from ckptui.readers.hdf5_checksums import header_fault, headers_with_checksum
from ckptui.readers.hdf5_classes import class_fault
from ckptui.readers.hdf5_intake import Intake, lost_object
from ckptui.readers.hdf5_mend import Fault, mend
from ckptui.readers.hdf5_names import mend_names, names_of, unnamed
from ckptui.readers.hdf5_open import Opened, zero_tail
from ckptui.readers.hdf5_structures import Found, Pointer, Structures
from ckptui.readers.hdf5_types import describe
from ckptui.readers.hdf5_walk import HDF5_ERRORS
from ckptui.readers.window import Bytes

MAX_CARVED = 20_000
_ROOT_AT = {0: 64, 1: 68}
"""Where the superblock of a version has the address of the root group's header."""


@dataclass(slots=True)
class Rescue:
    """What a look at the structures themselves gave."""

    faults: list[Fault] = field(default_factory=list)
    paths: dict[int, str] = field(default_factory=dict)
    """Every object that a link or an entry leads to, by the address of its header."""
    zeros_from: int | None = None
    """Window offset from which on the file holds zeros in place of structures."""
    carved: dict[str, int] = field(default_factory=dict)
    """Datasets no link of a readable group leads to: path to the address of the header."""
    found: Found = field(default_factory=Found)


def look_closer(
    opened: Opened, source: Bytes, intake: Intake, promised: Sequence[str], tick: Callable[[], None]
) -> Rescue:
    """Find what is broken and mend it in memory; HDF5 must look again afterwards. `promised` are paths of groups."""
    block = opened.superblock
    rescue = Rescue()
    if not block.width == block.lengths == 8:
        return rescue
    structures = Structures(opened.window, block.at, tick)
    rescue.found = structures.scan()
    root = root_pointer(structures, opened)
    zeros = 0 if opened.cut else zero_tail(source, opened.window.start, opened.window.available)
    begin = opened.window.available - zeros
    lost_from = opened.window.available if opened.cut else None
    if zeros and _lies_in_zeros(structures, rescue.found, root, begin):
        rescue.zeros_from = lost_from = begin
    rescue.faults = mend(structures, rescue.found, root, lost_from)
    for address in intake.odd_types:
        fault = class_fault(structures, address)
        if fault is not None:
            opened.window.patch(fault.at, bytes.fromhex(fault.expected))
            rescue.faults.append(fault)
    reported = {loss.address: loss.path for loss in intake.losses if loss.address >= 0}
    if opened.error:
        reported.setdefault(block.root, "")
    for address, path in sorted(reported.items()):
        fault = header_fault(structures, address)
        if fault is not None:
            rescue.faults.append(fault)
            rescue.paths[address] = path
    root = root_pointer(structures, opened)
    if root is not None:
        rescue.faults += mend_names(structures, root.to, [*intake.named(), *(("", path) for path in promised)])
        rescue.paths |= names_of(structures, root.to)
    # A heap whose address of names was put right is no longer one that does not parse.
    rescue.faults = [
        fault
        for fault in rescue.faults
        if fault.mended or fault.what != "heap" or not structures.is_heap(fault.at - block.at)
    ]
    return rescue


def carve(opened: Opened, rescue: Rescue, intake: Intake, tick: Callable[[], None]) -> None:
    """Add datasets that the walk did not reach to `intake`, opened by their address."""
    block = opened.superblock
    if opened.file is None or not block.width == block.lengths == 8:
        return
    structures = Structures(opened.window, block.at, tick)
    for fault in rescue.faults:
        path = rescue.paths.get(fault.owner)
        if fault.what == "header" and not fault.mended and path and path not in intake.described:
            # HDF5 may take what is left of a dataset's header for something else.
            intake.described[path] = lost_object(f"its object header {fault.told}", intake.extent.cut)
            intake.addresses[path] = fault.owner
    readable = {intake.addresses.get(path) for path, facts in intake.described.items() if not facts.problem}
    headers = [a for a in sorted(rescue.found.places["header"]) if structures.is_dataset(a)]
    headers += headers_with_checksum(structures, tick)
    known = set(intake.addresses.values())
    missed = [a for a in headers if a not in readable and (a not in known or _is_lost(intake, a))]
    paths = _orphans(structures, rescue, intake) if missed else {}
    for address in missed[:MAX_CARVED]:
        path = rescue.paths.get(address) or paths.get(address) or unnamed(block.at + address)
        facts = _describe_at(opened, address, intake)
        if facts is None or (path in intake.described and not intake.described[path].problem):
            continue
        intake.described[path] = facts
        intake.addresses[path] = address
        intake.losses[:] = [loss for loss in intake.losses if (loss.kind, loss.path) != ("object", path)]
        rescue.carved[path] = address


def _is_lost(intake: Intake, address: int) -> bool:
    return any(loss.kind == "object" and loss.address == address for loss in intake.losses)


def _describe_at(opened: Opened, address: int, intake: Intake) -> Any:
    """The facts of the dataset at an address; None where HDF5 does not take it for one."""
    import h5py

    try:
        dataset = open_at(opened.file.id, address)
    except HDF5_ERRORS:
        return None
    return describe(dataset, intake.extent) if isinstance(dataset, h5py.h5d.DatasetID) else None


def root_pointer(structures: Structures, opened: Opened) -> Pointer | None:
    """The superblock's pointer to the root group; None for versions without groups of the old style."""
    block = opened.superblock
    at = _ROOT_AT.get(block.version)
    if at is None or not block.width == block.lengths == 8:
        return None
    return Pointer(at, int.from_bytes(structures.read(at, 8), "little"), "header", -1)


def _lies_in_zeros(structures: Structures, found: Found, root: Pointer | None, begin: int) -> bool:
    """Whether structures or names should lie where a file ends in zeros: zeros may also be stored on purpose."""
    pointers = [root] if root is not None else []
    for header in found.places["header"]:
        pointers += structures.group_pointers(header)
    base, end = structures.base, structures.window.available
    # A flipped bit in a pointer may lead into zeros too: then the structure it meant is one bit away.
    for pointer in pointers:
        inside = begin <= base + pointer.to < end and not structures.is_there(pointer.what, pointer.to)
        if inside and not any((place ^ pointer.to).bit_count() == 1 for place in found.places[pointer.what]):
            return True
    for pointer in pointers:
        if pointer.what == "heap" and structures.is_heap(pointer.to):
            segment = int.from_bytes(structures.read(pointer.to + 24, 8), "little")
            used = any(p.owner == pointer.owner and p.what == "node" for p in pointers)
            if used and begin <= base + segment < end:
                return True
    return any(begin <= heap < end for heap in structures.window.broken_heaps)


def _orphans(structures: Structures, rescue: Rescue, intake: Intake) -> dict[int, str]:
    """Paths under groups that no link leads to: the topmost of them have no name, what is in them may have.

    Such a group is a layer's where what is in it carries the name of one layer that Keras lists and no group has.
    """
    groups = {a for a in rescue.found.places["header"] if a not in rescue.paths and structures.symbol_table(a)}
    below = {p.to for group in groups for p in structures.group_pointers(group) if p.what == "header"}
    paths: dict[int, str] = {}
    taken = set(rescue.paths.values())
    layers = [path for path in intake.promised() if path not in taken and path not in intake.described]
    for group in sorted(groups - below):
        inside = names_of(structures, group)
        words = {word for path in inside.values() for word in path.split("/")}
        fitting = [layer for layer in layers if layer.rpartition("/")[2] in words]
        name = fitting[0] if len(fitting) == 1 else unnamed(structures.base + group)
        layers = [layer for layer in layers if layer != name]
        for address, path in inside.items():
            paths.setdefault(address, f"{name}/{path}" if path else name)
    return paths
