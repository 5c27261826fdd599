"""What the worker's cage could not enforce on this machine, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LAYERS = (
    ("writes", "it may write files outside its own folder: this kernel offers no Landlock"),
    ("network", "it may open network connections: this kernel offers no seccomp filter"),
    ("programs", "it may start programs: this kernel offers no seccomp filter"),
    ("core", "a crash may leave a core dump"),
    ("parent_death", "it may outlive ckptui"),
)
TRUNCATE_ABI = 3
WITH_GPU = {"programs": "it may start programs: drivers of a GPU need helpers"}


def not_enforced(cage: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each layer that does not hold; `cage` is what `hello` reports under that name.

    Nothing reported is nothing enforced.
    """
    gpu = bool(cage.get("gpu"))
    said = [WITH_GPU.get(name, words) if gpu else words for name, words in LAYERS if not cage.get(name)]
    landlock = cage.get("landlock") or 0
    if cage.get("writes") and isinstance(landlock, int) and 0 < landlock < TRUNCATE_ABI:
        said.append("it may cut files short outside its own folder: this kernel's Landlock can't forbid that")
    return tuple(said)
