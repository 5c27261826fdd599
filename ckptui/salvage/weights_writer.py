"""The parent's side of writing a `.weights.h5`: a process of its own holds the library and the file."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ckptui.array_files import Chunk
from ckptui.core.dtypes import np_dtype
from ckptui.engine.frames import BadFrame, read_frame, write_frame
from ckptui.errors import CkptuiError

_ROOT = Path(__file__).resolve().parents[2]


class WriterFailed(CkptuiError):
    """The writer process died, or the library refused."""

    title = "The weights can't be written"


class WeightsWriter:
    """One file being written. Use it in `with`; leaving it without an error closes the file."""

    def __init__(self, path: str) -> None:
        """`path`: the file, which is replaced."""
        options = {"file": path, "modules": [str(_ROOT), *(p for p in sys.path if p and os.path.isabs(p))]}
        script = str(Path(__file__).with_name("weights_child.py"))
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", script, json.dumps(options)]
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        except OSError as error:
            raise WriterFailed(f"can't start a process: {error}") from error

    def dataset(self, path: str, dtype: str, shape: Sequence[int], pieces: Iterator[Chunk]) -> None:
        """Write one dataset; `pieces` are its elements, C order, little-endian.

        Raises:
            WriterFailed: the writer is gone.
            CkptuiError: whatever `pieces` raises; then the dataset is taken back.
        """
        kind = np_dtype(dtype)
        # as Keras writes what numpy lacks: opaque bytes, and the dtype's name beside them
        own = kind.isbuiltin == 1
        header = {"dataset": path, "numpy": kind.str if own else f"V{kind.itemsize}", "tag": "" if own else dtype}
        self._send({**header, "shape": list(shape)})
        try:
            for piece in pieces:
                self._send({"data": True}, piece)
        except WriterFailed:
            raise
        except BaseException:
            self._send({"drop": True})
            raise

    def _send(self, header: Mapping[str, Any], blob: Chunk | None = None) -> None:
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin.fileno(), header, () if blob is None else (blob,))
        except (OSError, ValueError) as error:
            raise WriterFailed(self._last_words() or str(error)) from error

    def _last_words(self) -> str:
        """What the writer says went wrong."""
        assert self._process.stdout is not None
        try:
            frame = read_frame(self._process.stdout.fileno())
        except (OSError, BadFrame):
            return ""
        return str(frame.header.get("error", "")) if frame is not None else ""

    def __enter__(self) -> WeightsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if kind is None:
                self._send({"end": True})
                words = self._last_words()
                if words or process.wait(60):
                    raise WriterFailed(words or "the writer died")
        finally:
            with contextlib.suppress(OSError):
                process.kill()
            process.stdin.close()
            process.stdout.close()
            process.wait()
