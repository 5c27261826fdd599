"""Findings that discovery makes from names and first bytes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Severity
from ckptui.core.sayings import says
from ckptui.readers.sniff import Sniff

ZIPS = ("zip archive", "NumPy archive", "PyTorch checkpoint (zip)")
"""What Keras opens and finds no model in."""


def notice(
    code: str,
    path: str,
    detail: str = "",
    evidence: Mapping[str, Any] | None = None,
    *,
    severity: Severity | None = None,
    title: str | None = None,
    advice: str | None = None,
) -> Finding:
    """A finding about the file or folder at `path`."""
    return make(code, path, detail=detail, evidence=evidence, severity=severity, title=title, advice=advice)


HOW_TO_GET_IT = {
    "git-lfs pointer": "Run `git lfs pull` to fetch the real file.",
    "gzip archive": "Unpack it: `gunzip < FILE > COPY`, then look again.",
    "bzip2 archive": "Unpack it: `bunzip2 < FILE > COPY`, then look again.",
    "xz archive": "Unpack it: `unxz < FILE > COPY`, then look again.",
    "zstd archive": "Unpack it: `unzstd < FILE > COPY`, then look again.",
    "tar archive": "Unpack it: `tar xf FILE` in another folder, then look there.",
    "web page or error message": "A download gave this page in place of the file: fetch it again, logged in.",
}
"""What to do, by what a file looks like."""


def sniffed(path: str, seen: Sniff) -> tuple[Finding, ...]:
    """The finding a look at a file's bytes deserves; none where nothing speaks against it."""
    if seen.code is None:
        return ()
    title = seen.looks_like if seen.code == "unsupported-format" else None
    detail = seen.reason
    if seen.looks_like == "git-lfs pointer" and "size" in seen.evidence:
        detail += f"; the real file has {seen.evidence['size']} bytes"
    if seen.code == "unsupported-format":
        detail = "recognised by its first bytes, not read"
    advice = HOW_TO_GET_IT.get(seen.looks_like)
    evidence = dict(seen.evidence)
    if seen.kind == "keras-archive" and seen.code != "unsupported-format":
        whole = seen.looks_like in ZIPS and seen.code == "not-a-model"
        evidence["tensorflow_says"] = says("zip-member" if whole else "no-archive", file=path, member="config.json")
        detail += "" if whole else "; Keras says the file is not found, but it is there"
    if seen.kind in ("hdf5", "keras-h5", "keras-weights") and seen.code != "unsupported-format":
        evidence["tensorflow_says"] = says("no-signature")
    return (notice(seen.code, path, detail, evidence, title=title, advice=advice),)
