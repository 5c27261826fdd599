"""Writes one HDF5 file of weights from datasets that arrive on its standard input; run by path, lives for one file.

Frames as in `engine.frames`: {"dataset": path, "numpy": dtype, "tag": dtype or "", "shape": [...]}, then {"data": true}
frames with blobs until all bytes are there; {"drop": true} takes
the last one back; {"end": true} closes the file. Answers one
frame: {"ok": true} or {"error": text}. It may write, which reader children may not, and reads no file of a user's.
"""

from __future__ import annotations

import json
import os
import resource
import sys

MEMORY = 4 << 30
"""Bytes of address space: one dataset is written in rows as they come, so this bounds faults, not files."""


def main() -> None:
    """Write the file that the one argument (JSON) names."""
    options = json.loads(sys.argv[1])
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.path[:] = options["modules"]
    sys.dont_write_bytecode = True
    from ckptui.engine.frames import write_frame
    from ckptui.salvage.weights_file import write_file

    try:
        write_file(options["file"], requests)
        answer: dict[str, object] = {"ok": True}
    # the border of the process: whatever the library says becomes a message
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
    write_frame(replies, answer)


if __name__ == "__main__":
    main()
