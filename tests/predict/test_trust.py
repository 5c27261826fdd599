"""Flagged models: who may run them, and what the worker is kept from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ckptui.core.catalogue import make
from ckptui.core.model import Finding, Listing
from ckptui.errors import Flagged
from ckptui.predict.compare import Facts
from ckptui.predict.reporting import of_training_graph
from ckptui.predict.trust import allowed, blocked_findings, flags_of, sandbox_of
from ckptui.predict.wish import Wish, wish_of
from ckptui.session import Session
from tests.places import SAMPLES, needs_samples
from tests.predict.asking import listing
from tests.readers.protos import graph, meta_graph, node, saved_model_proto

WRITES = saved_model_proto(meta_graph(graph(node("x", "Placeholder"), node("w", "WriteFile"))))


def flagged(path: str, *findings: Finding) -> Listing:
    save = listing(path, "saved-model")
    return Listing(save.artifact, (), findings)


def test_warnings_and_errors_are_flags_and_what_every_save_has_is_not() -> None:
    error = make("unsafe-op", "m", severity="error", detail="WriteFile")
    warning = make("external-reference", "m")
    info = make("unsafe-op", "m", severity="info", detail="SaveV2")
    save = flagged("m", error, warning, info, make("non-finite", "m"))
    assert flags_of(save) == (error, warning)
    with pytest.raises(Flagged, match="2 findings in m: external-reference, unsafe-op") as raised:
        allowed([save, save], False)
    assert raised.value.findings == (error, warning)
    assert "--allow-flagged" in raised.value.hint
    assert allowed([save], True) == (error, warning)
    assert allowed([flagged("n", info)], False) == ()


@needs_samples
def test_a_flagged_model_is_refused_before_a_worker_starts_wherever_the_flag_lies(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(WRITES)
    image, clean = str(SAMPLES / "images" / "2.png"), str(SAMPLES / "digits.keras")
    with Session() as session:
        calls: list[tuple[str, dict[str, Any]]] = [(str(folder), {}), (clean, {"against": str(folder)})]
        for model, options in calls:
            with pytest.raises(Flagged) as raised:
                next(iter(session.predict(model, [image], **options)))
            assert [getattr(finding, "code", "") for finding in raised.value.findings] == ["unsafe-op"]
        assert [finding.code for finding in session.flags(str(folder))] == ["unsafe-op"]
        assert session.flags(clean) == ()
        assert session.worker_state().state == "none"


def test_what_a_call_tried_is_one_finding_over_all_images() -> None:
    images = [Facts("a.png"), Facts("b.png")]
    assert blocked_findings("m", images) == []
    for facts in images:
        facts.blocked += [("original", "it tried to write /x"), ("repeat", "it tried to write /x")]
    (finding,) = blocked_findings("m", images)
    assert (finding.code, finding.severity, finding.detail) == ("unsafe-op", "error", "it tried to write /x")
    assert finding.evidence["runs"] == ["original", "repeat"]
    assert sandbox_of({"network": True}) == {"network": True, "writes": False, "programs": False}


def test_wishes_take_the_names_of_the_command_line() -> None:
    assert wish_of({"tf_python": "/p", "labels": None}) == Wish(tf_python=("/p",))
    assert wish_of({"tf_python": ["/p", "/q"], "mean": [1, 2]}) == Wish(tf_python=("/p", "/q"), mean=(1, 2))
    with pytest.raises(TypeError, match="called colour"):
        wish_of({"colour": 1})


@pytest.mark.parametrize("exported", [True, False])
def test_what_is_random_in_a_graph_for_training_names_the_one_for_serving(tmp_path: Path, exported: bool) -> None:
    times = [tmp_path / "export" / "best" / name for name in ("1700000001", "1700000002")]
    for folder in times if exported else ():
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
    drawn = make("nondeterministic", "m", evidence={"max_abs": 1.0})
    other = make("constant-output", "m")
    first, second = of_training_graph([drawn, other], str(tmp_path / "model.ckpt-3.meta"))
    assert second == other
    assert first.advice.startswith("model.ckpt-3.meta holds the graph it was trained with")
    assert first.evidence["max_abs"] == 1.0
    assert first.evidence.get("export", "") == (str(times[1]) if exported else "")
    assert (str(times[1]) in first.advice) == exported
    assert of_training_graph([drawn, other], None) == [drawn, other]
