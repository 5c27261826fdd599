"""Findings about a `.keras` archive as a whole: what broke it, what mangled it, which members are odd or absent."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from ckptui.core.model import Certainty, Finding
from ckptui.core.sayings import says
from ckptui.errors import Damaged
from ckptui.readers.keras_findings import in_words, listed, note
from ckptui.readers.keras_parts import WEIGHTS
from ckptui.readers.magic import MANGLED_HDF5, is_page, lfs_pointer, wrapped
from ckptui.readers.mangled import WORDS
from ckptui.readers.source import Source
from ckptui.readers.window import Bytes
from ckptui.readers.zip_damage import Broken, MangledCopy, saying
from ckptui.readers.zip_directory import ZIP_ERRORS, Directory, Member, leaves_folder, stream

LOOKED_AT = 1 << 16
"""Bytes of weights that are no HDF5 that are looked at for what they are."""
EXISTS = "; Keras says the file is not found, but it is there"
_TITLES = {
    "cut": "The .keras archive is cut off",
    "unfinished": "The save of this .keras archive was interrupted",
    "zeros": "Zeros where the end of the .keras archive should be",
    "directory": "The directory of the .keras archive is damaged",
}


def no_archive(source: Source, copy: MangledCopy | None, error: Damaged) -> Damaged:
    """What to raise for a file without a single member: mangled, zeros, or no archive at all."""
    facts = {**error.evidence, "tensorflow_says": says("no-archive", file=source.path)}
    if copy is not None:
        detail = f"{source.path} is a copy with {WORDS[copy.kind]}"
        return Damaged(detail, code="not-a-model", evidence={**facts, **copy.evidence})
    if not any(source.pread(0, min(source.size, 4096))):
        facts |= {"offset": 0, "bytes": source.size}
        return Damaged(f"{source.path} begins with zeros{EXISTS}", code="zero-filled", evidence=facts)
    return Damaged(error.detail, code=error.code, evidence=facts)


def broken_archive(source: Source, directory: Directory, broken: Broken) -> Finding:
    """An archive whose directory can't be read, by its cause."""
    key = saying(source, directory)
    facts = {**broken.evidence, "tensorflow_says": says(key, file=source.path, member="config.json")}
    code = "zero-filled" if broken.cause == "zeros" else "zip-damaged"
    detail = broken.detail + (EXISTS if key == "no-archive" else "")
    return note(code, source.path, detail, evidence=facts, title=_TITLES[broken.cause])


def mangled_archive(path: str, copy: MangledCopy, key: str) -> Finding:
    """A copy that was taken for text, taken back in memory or not; `key` of what Keras says to it."""
    facts = {**copy.evidence, "looks_like": f"a .keras archive with {WORDS[copy.kind]}"}
    facts["tensorflow_says"] = says(key, file=path, member="config.json")
    detail = f"a copy with {WORDS[copy.kind]}"
    sure: Certainty = "likely"
    if copy.undone is not None:
        detail += "; read with that taken back, every member's CRC-32 is right"
        sure = "confirmed"
    title, advice = "An archive copied as text", "Copy it again in binary mode."
    return note("not-a-model", path, detail, evidence=facts, title=title, advice=advice, certainty=sure)


def odd_members(path: str, directory: Directory) -> list[Finding]:
    """Names that stand twice, and names that lead out of a folder."""
    findings: list[Finding] = []
    if directory.duplicates:
        detail = f"{in_words(directory.duplicates)}: more than one member of that name, readers may take either"
        contents: dict[str, set[tuple[int, int]]] = {name: set() for name in directory.duplicates}
        for member in directory.members:
            if member.name in contents:
                contents[member.name].add((member.crc32, member.size))
        equal = all(len(kinds) == 1 for kinds in contents.values())
        facts = {**listed(directory.duplicates), "equal": equal, "file": path}
        findings.append(note("zip-damaged", path, detail, evidence=facts, severity="warning"))
    outside = [member.name for member in directory.members if leaves_folder(member.name)]
    if outside:
        detail = f"{in_words(outside)}: unpacking would write outside the target folder"
        title = "A name that leaves the folder it is unpacked to"
        advice = "Nothing is unpacked here; do not unpack it elsewhere."
        findings.append(note("name-hostile", path, detail, evidence=listed(outside), title=title, advice=advice))
    return findings


def no_weights(path: str, names: Sequence[str]) -> Finding:
    """An archive without weights."""
    detail = f"the archive has no {WEIGHTS}: {in_words(names)}"
    facts = {**listed(names), "member": WEIGHTS, "tensorflow_says": says("no-weights-member")}
    return note("weights-missing", path, detail, evidence=facts)


def no_json(path: str, name: str, names: Sequence[str]) -> Finding:
    """An archive without its config, or without its metadata, which Keras can do without."""
    facts = {**listed(names), "member": name, "file": path}
    if name == "config.json":
        facts["tensorflow_says"] = says("zip-member", member=name)
        return note("zip-damaged", path, f"{name} is missing: Keras does not know the layers", evidence=facts)
    detail = f"{name} is missing: nothing says which Keras wrote it; Keras loads it all the same"
    return note("zip-damaged", path, detail, evidence=facts, severity="info")


def not_hdf5(path: str, member: Member, source: Bytes) -> Finding:
    """Weights without an HDF5 signature: what their first bytes say they are instead."""
    data, size, zeros = b"", 0, True
    with contextlib.suppress(Damaged, *ZIP_ERRORS):
        for piece in stream(source, member):
            data += bytes(piece[: max(0, LOOKED_AT - len(data))])
            size += len(piece)
            zeros = zeros and not bytes(piece).strip(b"\0")
            if not zeros and len(data) >= LOOKED_AT:
                size = member.size
                break
    facts: dict[str, Any] = {
        "file": path,
        "member": member.name,
        "bytes": size,
        "tensorflow_says": says("no-signature"),
    }
    if not size:
        return note("empty-file", path, f"{member.name} has 0 bytes", evidence=facts)
    if zeros:
        return note("zero-filled", path, f"{member.name} holds nothing but zeros", evidence={**facts, "offset": 0})
    pointer = lfs_pointer(data)
    mangled = next((what for signature, what in MANGLED_HDF5 if data.startswith(signature)), "")
    other = "git-lfs pointer" if pointer is not None else "web page or error message" if is_page(data) else ""
    other = mangled or other or wrapped(data)
    if other:
        facts |= {"looks_like": other, **(pointer or {}), **({"text_mangled": True} if mangled else {})}
        return note("not-a-model", path, f"{member.name}: found instead: {other}", evidence=facts)
    return note("hdf5-damaged", path, f"{member.name} has no HDF5 signature", evidence=facts)
