"""What the operations that decode images in a graph take: formats of files, base64, fields of Examples."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckptui.core.text import safe
from ckptui.errors import UsageError
from ckptui.predict.examples import example

Field = tuple[str, Sequence[Mapping[str, Any]]]
"""The field of an Example that an image goes in, and the spec of all fields."""

BEGINNINGS = {
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff",
    "GIF": b"GIF8",
    "BMP": b"BM",
}
DETECTING = frozenset({"GIF", "JPEG", "PNG"})
TAKES = {
    # one kernel, tensorflow/core/kernels/image/decode_image_op.cc, looks at the bytes whatever its name says
    "DecodeJpeg": DETECTING,
    "DecodePng": DETECTING,
    "DecodeGif": DETECTING,
    "DecodeImage": DETECTING | {"BMP"},
    "DecodeBmp": frozenset({"BMP"}),
    "DecodeAndCropJpeg": frozenset({"JPEG"}),
    "DecodeWebP": frozenset({"JPEG", "PNG", "WebP"}),
}
STILL = frozenset({"DecodeJpeg", "DecodePng"})
"""They take a GIF of one frame alone."""
SENT = ("PNG", "BMP", "JPEG")
"""What changed pixels are sent as, the first that is taken."""
CONVERT = "Convert it to {}, and give the model that file"


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the graph decodes the images of one input, as far as it tells."""

    operations: tuple[str, ...] = ()
    """Any of them may be the one that runs."""
    base64: bool = False
    webp: bool = False
    """The TensorFlow that runs it reads WebP, in every one of the operations."""

    @classmethod
    def of(cls, facts: Mapping[str, Any], name: str) -> Decoding:
        """That of the input `name`, by the worker's load reply."""
        operations = (facts.get("decoders") or {}).get(name) or ()
        known = tuple(str(op) for op in operations if op in TAKES)
        return cls(known, name in (facts.get("base64") or ()), bool(facts.get("webp")))

    @property
    def takes(self) -> frozenset[str]:
        """Names of formats; empty where nothing is known."""
        return frozenset[str]().union(*[TAKES[op] for op in self.operations])

    @property
    def sends(self) -> str:
        """The format that changed pixels are sent in."""
        return next((name for name in SENT if name in self.takes), SENT[0])

    def check(self, data: bytes, path: str, animated: bool) -> tuple[str, ...]:
        """Raises UsageError for a file the graph can't decode; returns what else is to be said of it."""
        takes, found = self.takes, format_of(data)
        if not takes or not found:
            return ()
        names, ops = ", ".join(sorted(takes)), ", ".join(self.operations)
        convert = CONVERT.format(self.sends)
        if found == "GIF" and animated and set(self.operations) <= STILL:
            raise UsageError(
                f"{safe(path)} is an animated GIF, and the model's {ops} takes those of one frame", convert
            )
        if found in takes:
            return ()
        if found == "WebP" and self.webp:
            # to all but DecodeImage with expand_animations=False it is an animation
            return () if "DecodeImage" in self.operations else (f"{ops} makes [1, h, w, 3] of a WebP",)
        raise UsageError(f"{safe(path)} is {found}, and the model decodes {names} ({ops})", convert)

    def wrapped(self, field: Field | None, what: str) -> Callable[[bytes], bytes] | None:
        """What makes of an image's bytes what the graph takes: base64, an Example with them; None for themselves.

        `tf.io.decode_base64` takes the alphabet for addresses alone (RFC 4648, section 5).
        """
        if field is None:
            return base64.urlsafe_b64encode if self.base64 else None
        key, specs = field
        text = base64.urlsafe_b64encode if self.base64 else bytes
        return lambda data: example({key: text(data)}, specs, what)

    def unwrapped(self, data: bytes) -> bytes:
        """The image's bytes of what the graph takes; `data` itself where it is no base64."""
        if not self.base64:
            return data
        try:
            return base64.b64decode(data.rstrip(b"=") + b"=" * (-len(data.rstrip(b"=")) % 4), b"-_", validate=True)
        except (binascii.Error, ValueError):
            return data


def format_of(data: bytes) -> str:
    """The format of an image file by its first bytes; empty for others."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return next((name for name, begin in BEGINNINGS.items() if data.startswith(begin)), "")
