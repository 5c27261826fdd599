"""Made-up answers to why: every kind of cause, and names that act on terminals."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ckptui.core.causes import Cause, RuledOut, WhyReport, WhyStep
from ckptui.core.model import Finding, Progress, Run
from ckptui.errors import Flagged

HOSTILE = "a\x1b[31m\u202eb[/x]"
FLAGGED = Finding("unsafe-op", "error", "The graph writes files", "m", None, detail=f"1 node {HOSTILE}")
CAUSES = (
    Cause(
        "output-disconnected", "The output does not depend on the input", ("constant",), "confirmed", 0.98,
        (
            "zeros, ones, noise and the negative give the same bits as the image",
            "conv1: its output varies by 0.83 over the probes, that of dense by 0: the first layer that stands still",
        ),
        "Look at the weights of dense, and at what the layer gets as input", ("constant-output",), "dense",
    ),
    Cause(
        "non-finite-weights", "Weights hold values that are not finite", ("constant", "unstable"), "likely", 0.7,
        ("12 of 10,240 values of dense/kernel are NaN",), "Restore dense/kernel from ckpt-4", ("non-finite",),
        "dense/kernel",
    ),
    Cause(
        "one-sided-training", f"The training data was one-sided {HOSTILE}", ("flip",), "possible", 0.3,
        (f"over 24 images a flip moves the answer by 0.41 [0.33, 0.49] {HOSTILE}",), "Train with flipped images",
    ),
)  # fmt: skip
RULED_OUT = (
    RuledOut("live-dropout", "Dropout is live at inference", ("unstable",), "three calls give the same bits"),
    RuledOut("half-written", "The save is half written", ("constant", "flip", "unstable"), "every checksum holds"),
    RuledOut("wrong-save", "Another save than it was trained to", ("unstable",), f"nothing beside it {HOSTILE}"),
    RuledOut(
        "other-tensorflow", "Another version of TensorFlow", ("unstable",),
        "one TensorFlow alone was asked", asked=False, ask="--tf-python PYTHON",
    ),
)  # fmt: skip
STEPS = (
    WhyStep("storage", "done", "every checksum holds", 0.21),
    WhyStep("values", "done", "12 values are NaN", 0.43),
    WhyStep("filters", "done", "5 untouched filters in conv1/kernel", 0.38),
    WhyStep("run", "skipped", "it belongs to no run"),
    WhyStep("behaviour", "done", "9 runs of 1 image", 3.2),
    WhyStep("many-images", "failed", f"2 images are too few {HOSTILE}", 0.1),
)
REPORT = WhyReport(
    {"path": "/runs/digits/run/ckpt-5", "kind": "tf-checkpoint", "label": "ckpt-5"}, None, ("constant",), CAUSES,
    RULED_OUT, STEPS, (), ("/runs/digits/images/two.png",),
    "It gives the same prediction for every input, because the output does not depend on the input.",
    ("no GPU was used",),
)  # fmt: skip


class WhyFake:
    """Answers why from memory; `why_hold` cleared, it waits in the middle of a step."""

    why_report: WhyReport = REPORT
    why_flagged = False
    """Refuse until it is allowed."""

    def begin_why(self) -> None:
        """What each session has for itself."""
        self.why_hold = threading.Event()
        self.why_hold.set()
        self.asked_why: list[tuple[str, tuple[str, ...], bool]] = []
        self.why_cancelled = threading.Event()
        self.why_options: list[dict[str, Any]] = []

    def why(
        self, model: str, images: Sequence[str] = (), *, cancel: threading.Event | None = None, **options: Any
    ) -> Iterator[WhyStep | Progress | str | Run | WhyReport]:
        """The steps, then the report."""
        allowed = bool(options.get("allow_flagged"))
        self.why_options.append({name: value for name, value in options.items() if name != "allow_flagged"})
        self.asked_why.append((model, tuple(images), allowed))
        if self.why_flagged and not allowed:
            raise Flagged("1 op reaches outside", "--allow-flagged", findings=(FLAGGED,))
        for step in self.why_report.steps:
            yield WhyStep(step.name, "running")
            if step.name == "values":
                yield Progress(61, 100, 1, 2, 1.0, "conv1/kernel")
            if step.name == "behaviour":
                yield f"reloading {HOSTILE}"
                while not self.why_hold.wait(0.01):
                    if cancel is not None and cancel.is_set():
                        self.why_cancelled.set()
                        return
            yield step
        yield self.why_report
