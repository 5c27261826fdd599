"""What the check of single tensors does not read: archive members, table blocks, the graph beside a checkpoint.

Runs in a reader child.
"""

from __future__ import annotations

from ckptui.core.model import Finding
from ckptui.engine.checked import Beat


def verify_whole(path: str, kind: str, beat: Beat) -> list[Finding]:
    """Findings about a save as a whole; `beat` is the sign of life. Raises what opening it raises."""
    if kind == "keras-archive":
        from ckptui.readers.keras_archive import open_archive

        with open_archive(path) as archive:
            return list(archive.verify(lambda: beat(0)))
    found: list[Finding] = []
    if kind == "tf-checkpoint-v1":
        from ckptui.readers.bundle_v1 import open_v1

        table = open_v1(path)
        try:
            found += table.verify(beat)
        finally:
            table.close()
    from ckptui.readers.meta_graph import check_beside

    return [*found, *check_beside(path, kind, lambda _: beat(0))]
