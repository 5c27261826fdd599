"""What the tests of predictions share: saves by path, and everything a prediction tells, sorted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ckptui.core.model import Artifact, Kind, Listing, Predicted, PredictReport, Run
from tests.places import SAMPLES

TWO = str(SAMPLES / "images" / "2.png")
RUNS = [
    "original",
    "flip-left-right",
    "flip-up-down",
    "rotate-180",
    "repeat",
    "in-batch",
    "reload",
    "fresh-process",
    "training-mode",
]


def listing(path: str | Path, kind: Kind) -> Listing:
    return Listing(Artifact(str(path), kind, "m", None, 0, 1, 0, 0, 0.0), ())


class Answer:
    """Everything a prediction yields, sorted."""

    def __init__(self, told: list[Any]) -> None:
        self.lines = [item for item in told if isinstance(item, str)]
        self.runs = [item for item in told if isinstance(item, Run)]
        self.early = [item for item in told if isinstance(item, Predicted) and not item.runs]
        assert isinstance(told[-1], PredictReport)
        self.report = told[-1]
        self.codes = [finding.code for finding in self.report.findings]

    def run(self, name: str, image: int = 0) -> Run:
        return next(run for run in self.report.images[image].runs if run.name == name)
