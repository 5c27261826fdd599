"""Completing paths, and remembering the ones that were used."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ckptui.config import state_folder
from ckptui.core.text import safe

MOST_ENTRIES = 20_000
"""Names of one folder that are looked at, so that a huge one costs no more than this."""
MOST_RECENT = 20
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".npy")


def candidates(text: str, suffixes: Sequence[str] = ()) -> list[str]:
    """Paths that begin with `text`, folders with a trailing slash and first; files only with one of `suffixes`.

    Hidden names are offered once their dot is typed. A folder that can't be read offers nothing.
    """
    folder, prefix = os.path.split(text)
    folders, files = [], []
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            for _, entry in zip(range(MOST_ENTRIES), entries, strict=False):
                name = entry.name
                if not name.startswith(prefix) or (name.startswith(".") and not prefix):
                    continue
                if _is_folder(entry):
                    folders.append(os.path.join(folder, name) + "/")
                elif not suffixes or name.lower().endswith(tuple(suffixes)):
                    files.append(os.path.join(folder, name))
    except OSError:
        return []
    return [*sorted(folders), *sorted(files)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def completed(text: str, found: Sequence[str]) -> str:
    """What all candidates have in common; `text` itself where there are none."""
    if not found:
        return text
    first, last = min(found), max(found)
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:shared]


def short_path(path: str, home: str | None = None, here: str | None = None) -> str:
    """The shortest way to write a path: below the current folder, below home as `~`, or as it is."""
    home = home if home is not None else os.path.expanduser("~")
    here = here if here is not None else os.getcwd()
    if path.startswith(here.rstrip("/") + "/"):
        return path[len(here.rstrip("/")) + 1 :]
    if len(home) > 1 and path.startswith(home.rstrip("/") + "/"):
        return "~" + path[len(home.rstrip("/")) :]
    return path


def harmless(paths: Iterable[str]) -> list[str]:
    """Those that can be typed and shown as they are: no control or bidi characters."""
    return [path for path in paths if safe(path) == path.replace("\\", "\\\\")]


def load_recent(kind: str) -> list[str]:
    """Paths used before, the last one first; empty where none are remembered."""
    try:
        known = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return []
    found = known.get(kind) if isinstance(known, dict) else None
    return [p for p in found if isinstance(p, str)][:MOST_RECENT] if isinstance(found, list) else []


def remember(kind: str, path: str) -> None:
    """Put a path first among the recent ones; where nothing can be written it is forgotten at the end."""
    recent = [path, *(p for p in load_recent(kind) if p != path)][:MOST_RECENT]
    file = _file()
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        try:
            known = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            known = {}
        known = {**known, kind: recent} if isinstance(known, dict) else {kind: recent}
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(known), "utf-8")
        os.replace(fresh, file)


def _file() -> Path:
    return state_folder() / "recent.json"
