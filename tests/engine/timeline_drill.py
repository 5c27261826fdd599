"""A reader that dies at one save of a timeline, and lies where a tensor is missing."""

from __future__ import annotations

import os
import signal
from typing import Any

from ckptui.engine import ops
from ckptui.engine.ops import prepare

__all__ = ["OPS", "prepare"]


def timeline(call: Any, args: Any) -> Any:
    """Dies at `model.ckpt-300`; says nonsense where `b/bias` is not asked for."""
    call.begin(args["path"])
    if args["path"].endswith("model.ckpt-300") and args["items"]:
        os.kill(os.getpid(), signal.SIGSEGV)
    doc, blobs = ops.OPS["timeline"](call, args)
    if args["items"] and len(args["items"]) == 3:
        doc["points"] = [[point[0], float(-1), *point[2:]] for point in doc["points"]]
    return doc, blobs


OPS = {**ops.OPS, "timeline": timeline}
