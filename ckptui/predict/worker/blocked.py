"""What the cage refused a model, told from what it says when it fails."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from .errors import Refused

REFUSED = ("Permission denied", "Operation not permitted", "Read-only file system")
PLACE = re.compile(r"(?:^|[\s'\"=:])((?:file://)?/[^\n;'\"]*?)(?:;|['\"]?:)\s*(?:" + "|".join(REFUSED) + ")")
"""TensorFlow says `/a/path; Permission denied`."""
PYTHON_PLACE = re.compile(r"(?:Permission denied|Operation not permitted|Read-only file system): '([^'\n]+)'")
HDF5_PLACE = re.compile(r"name = '([^'\n]+)', errno = \d+, error message = '(?:" + "|".join(REFUSED) + ")'")
CONNECT = re.compile(r"socket|connect|address|grpc|://(?!/)|resolve|bind\(", re.IGNORECASE)
HINT = "`ckptui check` names the ops in its graph that reach outside"


def as_blocked(error: BaseException) -> Refused | None:
    """A refusal of kind `blocked` where the cage stopped the model; None for any other failure."""
    parts: list[Any] = [error]
    while parts[-1].__cause__ is not None and len(parts) < 8:
        parts.append(parts[-1].__cause__)
    for part in parts:
        text = str(part)
        by_system = isinstance(part, OSError) and part.errno in (errno.EPERM, errno.EACCES, errno.EROFS)
        if not by_system and not any(words in text for words in REFUSED):
            continue
        place = place_in(part, text)
        if place:
            return None if read_only_try(place, text) else refused("write " + place)
        if CONNECT.search(text):
            return refused("open a network connection")
        if by_system or type(part).__name__ == "PermissionDeniedError":
            return refused("reach outside")
    return None


def refused(what: str) -> Refused:
    """The model tried to do something it may not."""
    return Refused("blocked", "the model tried to " + what + "; ckptui does not let it", HINT)


def place_in(error: Any, text: str) -> str:
    """The path an error is about; "" where it names none."""
    name = getattr(error, "filename", None)
    if isinstance(name, (str, bytes)) and name:
        return os.fsdecode(name)
    for pattern in (HDF5_PLACE, PLACE, PYTHON_PLACE):
        found = pattern.search(text)
        if found:
            return found.group(1).strip()
    return ""


def read_only_try(place: str, text: str) -> bool:
    """Whether reading alone explains it: this user may not read the file that is there, or not even look for it."""
    path = place[len("file://") :] if place.startswith("file://") else place
    try:
        os.stat(path)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return not os.access(path, os.R_OK)
