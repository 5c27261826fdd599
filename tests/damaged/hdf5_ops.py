"""Ops for reader children of the tests: one look at a file and a digest of every value in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ckptui.engine.child import Call
from ckptui.errors import CkptuiError
from ckptui.readers.registry import open_reader


def prepare(op: str, args: Mapping[str, Any]) -> None:
    """Import the slow things before the clock runs."""
    import h5py  # noqa: F401


def look(call: Call, args: Mapping[str, Any]) -> tuple[Any, list[bytes]]:
    """Findings, rows with a problem, and a digest of the values of all other rows."""
    call.begin(args["path"])
    try:
        reader = open_reader(args["path"], args["kind"])
    except CkptuiError as error:
        return {"refused": str(error), "code": getattr(error, "code", "")}, []
    digests: dict[str, str] = {}
    late: dict[str, str] = {}
    try:
        listing = reader.listing()
        for tensor in listing.tensors:
            if tensor.problem:
                continue
            try:
                values = reader.array(tensor)
            except CkptuiError as error:
                late[tensor.name] = str(error)
                continue
            raw = b"\0".join(values.reshape(-1).tolist()) if values.dtype.kind == "O" else values.tobytes()
            digests[tensor.name] = hashlib.sha1(repr((tensor.shape, str(values.dtype))).encode() + raw).hexdigest()
    finally:
        reader.close()
    return {
        "kind": listing.artifact.kind,
        "findings": [[f.code, f.severity, f.tensor or "", f.title, f.detail[:300]] for f in listing.findings],
        "lost": [t.name for t in listing.tensors if t.problem],
        "late": late,
        "values": digests,
    }, []


OPS = {"look": look}
