"""Before a model is called: what was asked for is looked at, and where the model is flagged somebody is asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ckptui.core.model import Finding
from ckptui.core.report import finding_lines, worst_first
from ckptui.core.text import safe
from ckptui.errors import Flagged, NoSuchPath, UsageError
from ckptui.narrator import Narrator, ask
from ckptui.predict.config_file import is_config
from ckptui.session import Session

Told = TypeVar("Told")
MOST_NAMED = 6
"""Ops and layers that one line names."""
NOTHING_RUN = "Nothing was run: leave it out, or name a file that is there"
NAME_ONE = "Name at least one PNG, JPEG, GIF, BMP, WebP or .npy"


def looked_at(session: Session, images: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options for `Session.predict` and `Session.why`, paths of saves resolved, without what was not given.

    TensorFlow takes seconds to start, too long for a slip of the pen: one image that is not there, and nothing runs.

    Raises:
        NoSuchPath, NotASave: a file that is named is not there, or no save where one is wanted.
        UsageError: options that exclude each other, a folder among the images.
    """
    given = {name: value for name, value in options.items() if value not in (None, (), False)}
    _images(images)
    missing = [path for path in dict.fromkeys(images) if not os.path.lexists(path)]
    if missing:
        raise NoSuchPath(", ".join(missing), NAME_ONE if len(missing) == len(set(images)) else NOTHING_RUN)
    _preprocessing(given)
    for name in ("labels", "expect"):
        if name in given and not os.path.isfile(given[name]):
            raise NoSuchPath(f"--{name} {given[name]}", _folder_hint(given[name]))
    if "images_dir" in given and not os.path.isdir(given["images_dir"]):
        raise NoSuchPath(f"--images {given['images_dir']}", "Name a folder that holds images")
    _inputs(given.get("input", ()))
    for python in given.get("tf_python", ()):
        if os.path.isdir(python) or shutil.which(python) is None:
            raise NoSuchPath(f"--tf-python {python}", "Name the program itself: ENVIRONMENT/bin/python")
    for name in ("architecture", "against"):
        if name in given and not (name == "architecture" and os.path.isfile(given[name]) and is_config(given[name])):
            given[name] = session.resolve(given[name]).path
    return given


def _images(images: Sequence[str]) -> None:
    """Not one of them is a folder."""
    folder = next((path for path in images if os.path.isdir(path)), None)
    if folder is not None:
        raise UsageError(f"{folder} is a folder", f"--images {folder} takes all images in it", title="No image")


def _folder_hint(path: str) -> str:
    return "Name a file, not a folder" if os.path.isdir(path) else ""


def _preprocessing(given: dict[str, Any]) -> None:
    """One way of preprocessing, wholly said."""
    mean, std = given.get("mean"), given.get("std")
    if mean is None and std is None:
        return
    if mean is None or std is None:
        raise UsageError("--mean and --std go together", "Write both; --std 1 divides by nothing")
    if given.get("preprocess", "auto") != "auto":
        raise UsageError("--mean and --std exclude --preprocess", "Leave one of them out")
    if len(mean) != len(std) and 1 not in (len(mean), len(std)):
        raise UsageError(f"--mean has {len(mean)} numbers and --std {len(std)}", "One for all channels, or one each")
    given["preprocess"] = "mean/std"


def _inputs(inputs: Sequence[str]) -> None:
    """Every `--input` names a file, and no input twice."""
    names: set[str] = set()
    for entry in inputs:
        name, equals, path = entry.partition("=")
        if os.path.exists(entry) or not equals:
            name, path = "", entry
        if not os.path.isfile(path):
            raise NoSuchPath(f"--input {entry}", _folder_hint(path) or "Write NAME=FILE, or FILE alone")
        if name and name in names:
            raise UsageError(f"--input {name} is given twice", "One file an input")
        names.add(name)


def steps(
    begin: Callable[..., Iterator[Told]], options: Mapping[str, Any], narrator: Narrator, *, may_ask: bool
) -> Iterator[Told]:
    """What `begin(**options)` yields; a flagged model runs only if the options allow it or somebody says so.

    Raises:
        Flagged: nobody is there to be asked (no terminal, or not `may_ask`), or the answer was no.
    """
    try:
        yield from begin(**options)
        return
    except Flagged as error:
        narrator.close()
        hint = error.hint if "--allow-flagged" in error.hint else "--allow-flagged runs it all the same"
        found = [finding for finding in error.findings if isinstance(finding, Finding)]
        if not may_ask or not ask([*flagged_lines(error.detail, found), ""], "Run it all the same?"):
            names = dict.fromkeys(str(f.evidence.get("op") or f.evidence.get("class") or f.title) for f in found)
            named = f" ({', '.join(safe(name, 40) for name in list(names)[:MOST_NAMED])})" if names else ""
            raise Flagged(f"{error.detail}{named}", hint, findings=error.findings) from error
    yield from begin(**{**options, "allow_flagged": True})


def flagged_lines(detail: str, findings: Sequence[Finding]) -> list[str]:
    """What is shown before the question."""
    lines = [f"{Flagged.title}: {safe(detail)}", ""]
    for finding in worst_first(findings):
        lines += finding_lines(finding)
    return lines
