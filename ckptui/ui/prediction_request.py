"""What the lines of the predict pane ask for: options of `Session.predict`, and the command that asks the same."""

from __future__ import annotations

import math
import os
import shlex
from dataclasses import dataclass, replace
from typing import Any

from ckptui.core.text import safe

AUTO, MEAN_STD = "auto", "mean/std"
PREPROCESSINGS = (AUTO, "0..1", "-1..1", "0..255", "caffe", "torch", MEAN_STD)
"""In the order in which the keys go through them; `mean/std` takes numbers."""
MOST_CHANNELS = 16
SHARD = ".data-00000-of-00001"
IN_A_SAVED_MODEL = ("saved_model.pb", "variables/variables.index", f"variables/variables{SHARD}")
Identity = tuple[tuple[int, ...] | None, ...]


class FieldProblem(ValueError):
    """One line or more say something that can't be meant: name of each line, and words why."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {words}" for name, words in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """One prediction, as the lines say it."""

    model: str
    image: str
    preprocess: str = AUTO
    numbers: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Mean and standard deviation, for `mean/std`."""
    against: str = ""
    labels: str = ""
    architecture: str = ""
    all_preprocessing: bool = False
    images_dir: str = ""
    adding: bool = False
    """Only what `all_preprocessing` and `images_dir` add is asked for, beside answers that are there already."""

    def plain(self) -> PredictRequest:
        """The same without what was added to it."""
        return replace(self, all_preprocessing=False, images_dir="", adding=False)

    def with_added(self, more: PredictRequest) -> PredictRequest:
        """Both together."""
        many = more.images_dir or self.images_dir
        return replace(self, all_preprocessing=self.all_preprocessing or more.all_preprocessing, images_dir=many)

    def paths(self) -> dict[str, str]:
        """Every file named, by what `Session.unusable` calls it."""
        named = ("model", "architecture", "image", "against", "labels")
        return {name: getattr(self, name) for name in named if getattr(self, name)}

    def named_in(self, words: str) -> str:
        """The file an error is about, by the name `paths` gives it; empty where it names none, or the model."""
        named = ("image", "labels", "against")
        return next((name for name in named if getattr(self, name) and safe(getattr(self, name)) in words), "")

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `Session.predict`; what is not asked for is left out."""
        found: dict[str, Any] = {}
        if self.preprocess != AUTO:
            found["preprocess"] = self.preprocess
        if self.preprocess == MEAN_STD and self.numbers is not None:
            found["mean"], found["std"] = self.numbers
        for name in ("against", "labels", "architecture", "all_preprocessing", "images_dir"):
            if value := getattr(self, name):
                found[name] = value
        if self.adding:
            found.pop("against", None)
            found["runs"] = ()
        return found

    def command(self, *, allow_flagged: bool = False) -> str:
        """The command line that gives the same as JSON."""
        words = ["ckptui", "predict", _argument(self.model), _argument(self.image)]
        if self.preprocess == MEAN_STD and self.numbers is not None:
            mean, std = (",".join(f"{number:g}" for number in part) for part in self.numbers)
            words += [f"--mean={mean}", f"--std={std}"]
        elif self.preprocess != AUTO:
            words.append(f"--preprocess={self.preprocess}")
        for option, path in (("against", self.against), ("labels", self.labels), ("architecture", self.architecture)):
            words += [f"--{option}", _argument(path)] if path else []
        words += ["--images", _argument(self.images_dir)] if self.images_dir else []
        words += ["--all-preprocessing"] if self.all_preprocessing else []
        words += ["--allow-flagged"] if allow_flagged else []
        return shlex.join([*words, "--json"])

    def identity(self) -> tuple[Identity, ...]:
        """What changes when one of the files that would be run changes; looks at the disk."""
        return tuple(file_identity(path) for path in (self.model, self.against, self.architecture) if path)


def _argument(path: str) -> str:
    """A path that no option can be mistaken for."""
    return f"./{path}" if path.startswith("-") else path


def file_identity(path: str) -> Identity:
    """Device, inode, size and time of a save's main files; None for what is not there."""
    found: list[tuple[int, ...] | None] = []
    for name in (path, f"{path}.index", f"{path}{SHARD}", *(f"{path}/{name}" for name in IN_A_SAVED_MODEL)):
        try:
            info = os.stat(name)
        except (OSError, ValueError):
            found.append(None)
        else:
            found.append((info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns))
    return tuple(found)


def numbers_of(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation from `123.7 116.8 103.9 / 58`: one number for all channels, or one each.

    Raises ValueError with what is wrong, in words.
    """
    mean, slash, std = text.partition("/")
    if not slash:
        raise ValueError("Write mean / std, like 127.5 / 127.5; one number for all channels, or one each")
    found = _numbers(mean), _numbers(std)
    if min(found[1]) <= 0:
        raise ValueError("Pixels are divided by std: every number of it is above 0")
    if len(found[0]) != len(found[1]) and 1 not in (len(found[0]), len(found[1])):
        raise ValueError(f"mean has {len(found[0])} numbers and std {len(found[1])}: one for all channels, or one each")
    return found


def _numbers(text: str) -> tuple[float, ...]:
    parts = text.replace(",", " ").split()
    if not 1 <= len(parts) <= MOST_CHANNELS:
        raise ValueError("Write mean / std with at least one number each, one for all channels or one each")
    try:
        found = tuple(float(part) for part in parts)
    except ValueError as error:
        raise ValueError("mean / std takes numbers, like 123.7 116.8 103.9 / 58") from error
    if not all(map(math.isfinite, found)):
        raise ValueError("mean and std are finite numbers")
    return found
