"""How the worker says no: a kind the client turns into its own error, a sentence, and what each loader said."""

from __future__ import annotations

import os
import re
import traceback

STACK = re.compile(r"^(Graph execution error:|Detected at node .*|\s+File \".*|\s{4,}\S.*)$", re.MULTILINE)
"""Lines by which TensorFlow tells where in our own code a graph was called."""
MARKS = re.compile(r"\{\{function_node [^}]*\}\}|\[\[\{\{node [^}]*\}\}\]\]|\[Op:[^\]]*\]")
DEVICE = re.compile(r"You may be trying to load on a different device .*", re.DOTALL)
"""Advice TensorFlow gives for every file that is not there."""

COLOUR = re.compile("\x1b\\[[0-9;]*m")
"""Keras prints its messages bold."""
NESTED = re.compile(r".*Exception encountered: ", re.DOTALL)
"""Keras wraps what went wrong once a layer, with the layer's whole config before it."""
TRACE = re.compile(r"Original stack trace for .*", re.DOTALL)

UNSAFE = re.compile(r"safe_mode|enable_unsafe_deserialization")
"""What Keras says of code in a file it does not run: how to run it all the same, which nobody should be told."""
KEPT_SAFE = "Keras' safe mode stays on: ckptui does not run it"


class Refused(Exception):
    """A request that can't be carried out.

    `kind`: load | usage | input | image | missing | blocked | memory | request.
    """

    def __init__(self, kind: str, detail: str, hint: str = "", said: list[str] | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.hint = hint
        self.said = said or []


BUGS = (AttributeError, TypeError, NameError)
"""What a mistake in code raises; where the code is a model's or TensorFlow's, it is theirs."""
HERE = os.path.dirname(os.path.abspath(__file__))
BUG_HINT = "It is nothing about the model: please report it with the save's kind and its TensorFlow"


def own_fault(error: BaseException) -> str:
    """What is wrong in this folder's own code, with the line; empty for an error that others raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, BUGS) or not frames or os.path.dirname(os.path.abspath(frames[-1].filename)) != HERE:
        return ""
    place = "%s, line %s" % (os.path.basename(frames[-1].filename), frames[-1].lineno)
    return "a fault of ckptui's own (" + place + "): " + brief(error)


def brief(error: BaseException, limit: int = 300) -> str:
    """One line of an exception: its type and what it says, without stack and graph marks."""
    text = COLOUR.sub("", str(error))
    if UNSAFE.search(text):
        held = "a Lambda layer with code" if re.search("(?i)lambda", text) else "code"
        return "it holds " + held + "; " + KEPT_SAFE
    told = NESTED.sub("", TRACE.sub("", text))
    short = " ".join(DEVICE.sub("", MARKS.sub("", STACK.sub("", told))).split()) or " ".join(text.split())
    name = type(error).__name__
    return (name + ": " + short)[:limit].rstrip(" .") if short else name
