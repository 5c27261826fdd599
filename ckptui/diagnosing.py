"""`ckptui why`: what the command does with the session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckptui import why_output
from ckptui.core.causes import Symptom
from ckptui.core.model import Progress, Run, WhyReport, WhyStep
from ckptui.errors import Flagged
from ckptui.narrator import Narrator
from ckptui.output import Answer
from ckptui.predict_call import looked_at, steps
from ckptui.session import Session


def why(
    model: str,
    images: Sequence[str],
    symptom: Symptom | None,
    options: dict[str, Any],
    *,
    predict: bool = True,
    may_ask: bool = True,
) -> Answer:
    """`ckptui why`; `options` are the fields of `predict.wish.Wish`.

    Raises:
        NoSuchPath, NotASave, UsageError: what was asked for can't be done; an image that is not there is one reason.
        Flagged: the model reaches outside, and nobody allowed it (asked only where `may_ask`).
    """
    narrator = Narrator()
    report: WhyReport | None = None
    with Session() as session:
        given = looked_at(session, images, options)

        def begin(**more: Any) -> Any:
            return session.why(model, images, symptom=symptom, predict=predict, **more)

        try:
            for item in steps(begin, given, narrator, may_ask=may_ask):
                if isinstance(item, Progress):
                    narrator.progress("why", item)
                elif isinstance(item, WhyStep):
                    narrator.wait(f"{item.name} {item.state}")
                elif isinstance(item, Run):
                    narrator.wait(f"{item.name} done")
                elif isinstance(item, str):
                    narrator.wait(item)
                elif isinstance(item, WhyReport):
                    report = item
        except Flagged as error:
            more = "--no-predict leaves out what it answers"
            raise Flagged(error.detail, f"{error.hint}; {more}", findings=error.findings) from error
        finally:
            narrator.close()
    assert report is not None
    done = report
    return Answer(lambda: why_output.why_document(done), lambda: why_output.why_text(done), done.findings)
