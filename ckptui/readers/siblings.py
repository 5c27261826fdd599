"""The names in a folder that begin alike, without listing a folder of thousands of saves anew for each of them."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_left
from collections import OrderedDict

FOLDERS = 4
"""Listings that are kept."""
SETTLED = 2.0
"""Seconds a folder must have been left alone before its listing is kept: its time of change is no finer everywhere."""

_Key = tuple[int, int, int]
_kept: OrderedDict[str, tuple[_Key, list[str]]] = OrderedDict()
_lock = threading.Lock()


def names_with(folder: str, start: str) -> list[str]:
    """The names in `folder` that begin with `start`, sorted; none where it can't be listed."""
    names = _listing(folder or ".")
    first = bisect_left(names, start)
    last = first
    while last < len(names) and names[last].startswith(start):
        last += 1
    return names[first:last]


def _listing(folder: str) -> list[str]:
    """All names, sorted: those kept from last time where the folder has not changed since."""
    place = os.path.abspath(folder)
    try:
        status = os.stat(folder)
        key = (status.st_dev, status.st_ino, status.st_mtime_ns)
        with _lock:
            kept = _kept.get(place)
            if kept is not None and kept[0] == key:
                _kept.move_to_end(place)
                return kept[1]
        names = sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []
    if time.time() - status.st_mtime >= SETTLED:
        with _lock:
            _kept[place] = (key, names)
            while len(_kept) > FOLDERS:
                _kept.popitem(last=False)
    return names
