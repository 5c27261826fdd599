"""`ckptui predict`: what the command does with the session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ckptui import predict_output
from ckptui.core.model import Predicted, PredictReport, Progress, Run
from ckptui.core.text import safe
from ckptui.errors import UsageError
from ckptui.narrator import Narrator
from ckptui.output import Answer
from ckptui.predict_call import NAME_ONE, looked_at, steps
from ckptui.session import Session

VALUES_UNREAD = "values in the save are not checked: `ckptui check` reads them, `ckptui why` does both"
"""What a clean prediction does not say."""


def predict(model: str, images: Sequence[str], options: dict[str, Any], *, may_ask: bool = True) -> Answer:
    """`ckptui predict`; `options` are the fields of `predict.wish.Wish`.

    Raises:
        UsageError, NoSuchPath, NotASave: what was asked for can't be done.
        Flagged: the model reaches outside, and nobody allowed it (asked only where `may_ask`).
    """
    wanted = list(images)
    if not (wanted or options.get("input") or options.get("images_dir")):
        raise UsageError("no image is given", f"{NAME_ONE}; --input for models that take none, --images for a folder")
    narrator = Narrator()
    report: PredictReport | None = None
    with Session() as session:
        given = looked_at(session, wanted, options)

        def begin(**more: Any) -> Any:
            return session.predict(model, wanted, **more)

        try:
            for item in steps(begin, given, narrator, may_ask=may_ask):
                if isinstance(item, str):
                    narrator.wait(item)
                elif isinstance(item, Progress):
                    narrator.progress("predict", item)
                elif isinstance(item, Run):
                    narrator.wait(f"{item.name} done")
                elif isinstance(item, PredictReport):
                    report = item
        finally:
            narrator.close()
    assert report is not None
    done = replace(report, notes=(*report.notes, VALUES_UNREAD))
    failed = [image for image in done.images if all(run.error for run in image.runs)]
    notes = [f"no answer for {safe(image.path)}: {_reason(image)}" for image in failed]
    return Answer(
        lambda: predict_output.predict_document(done), lambda: predict_output.predict_text(done), done.findings,
        notes=notes,
    )  # fmt: skip


def _reason(image: Predicted) -> str:
    """Why there is no answer, without the path that stands before it."""
    why = image.runs[0].error if image.runs else "it was never asked"
    return safe(why).removesuffix(f": {safe(image.path)}")
