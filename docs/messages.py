"""Writes messages.md: every message TensorFlow, Keras and h5py give on damage, and the findings that stand for it.

Usage: `python -m docs.messages`.
"""

from __future__ import annotations

from pathlib import Path

from ckptui.core.sayings import SAYINGS, Saying

PAGE = Path(__file__).with_name("messages.md")

_HEAD = """\
# Messages

You saw one of these texts? This is what it stands for, and the finding `ckptui check` gives instead. Findings quote the
text with your own paths and numbers as `tensorflow_says` in their evidence. Parts in `{braces}` change from file to
file. Texts are those of TensorFlow 2.21, Keras 3.15 and h5py 3.14; the tests ask these programs for each of them.

What a code means is in [findings.md](findings.md). This page is made by `python -m docs.messages`.

| message | error | from | findings |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(_row(saying) for saying in SAYINGS.values())


def _row(saying: Saying) -> str:
    text = saying.text.replace("{{", "{").replace("}}", "}").replace("|", "\\|")
    codes = ", ".join(f"`{code}`" for code in saying.codes) or "no damage: weights without an architecture"
    error = f"`{saying.error}`" if saying.error else "a log line"
    return f"| {text} | {error} | `{saying.caller}` | {codes} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
