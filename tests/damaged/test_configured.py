"""Models that Keras saved with the same weights and one other setting: each found and named, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ckptui.core.configs import config_findings
from ckptui.core.digest import Digest
from ckptui.core.digest_text import read_digest
from ckptui.core.model import DiffReport, Finding
from ckptui.session import Session
from tests.damaged.keras_configured_names import EXPECTED, SILENT
from tests.damaged.keras_made import configured_folder
from tests.places import CORPUS, SAMPLES, needs_corpus, needs_samples


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(cache=False) as made:
        yield made


def found(session: Session, a: str, b: str) -> list[Finding]:
    one, other = (session.open(str(configured_folder() / name)) for name in (a, b))
    return config_findings(one, other)


def test_each_setting_is_found_and_named(session: Session) -> None:
    told = 0
    for name, (kind, layer, field, a, b) in EXPECTED.items():
        findings = found(session, f"{kind}-base.keras", f"{kind}-{name}.keras")
        assert len(findings) == 1, (name, [f.title for f in findings])
        evidence = findings[0].evidence
        change = evidence["changes"][0]
        assert (evidence["layer"], change["field"], change["a"], change["b"]) == (layer, field, a, b), name
        assert (findings[0].code, findings[0].severity, findings[0].certainty) == (
            "config-changed",
            "warning",
            "confirmed",
        )
        assert layer in findings[0].title
        back = found(session, f"{kind}-{name}.keras", f"{kind}-base.keras")
        assert [(c["field"], c["a"], c["b"]) for f in back for c in f.evidence["changes"]] == [(field, b, a)], name
        told += 1
    print(f"{told} settings changed one by one: {told} found, 0 other findings")


@pytest.mark.parametrize(("kind", "name"), SILENT)
def test_what_acts_in_training_alone_and_numbered_names_are_no_change(kind: str, name: str, session: Session) -> None:
    for end in ("keras", "h5"):
        assert found(session, f"{kind}-base.keras", f"{kind}-{name}.{end}") == []


def test_what_a_model_starts_with_is_said_so(session: Session) -> None:
    for name, words in (("rescaling", "Rescaling(scale 0.00392157"), ("normalization", "Normalization(")):
        (one,) = found(session, "pictures-base.keras", f"pictures-{name}.keras")
        assert one.title.startswith(f"B starts with {words}")
        assert one.evidence["only_in"] == "b"
        assert "input" in one.advice
        (other,) = found(session, f"pictures-{name}.keras", "pictures-base.keras")
        assert other.title.startswith(f"A starts with {words}")


def test_a_policy_of_the_whole_model_is_one_finding(session: Session) -> None:
    (one,) = found(session, "pictures-base.keras", "pictures-whole_policy.keras")
    assert one.evidence["layers"] == ["c1", "bn", "pool", "c2", "d"]
    assert one.evidence["changes"] == [{"field": "dtype policy", "a": "float32", "b": "mixed_bfloat16"}]


SEVERAL = [
    "c1: activation relu against tanh",
    "bn: epsilon 0.001 against 0.01",
    "c2: padding same against valid",
    "leak: negative slope 0.1 against 0.25",
]


def test_exports_are_compared_by_what_their_graphs_compute(session: Session) -> None:
    assert found(session, "export-base", "export-base") == []
    titles = [f.title for f in found(session, "export-base", "export-several")]
    assert sorted(titles) == sorted([*SEVERAL, "B starts with prepare (x 0.00392157 + 0), A does not"])


def test_an_export_is_compared_with_the_model_it_was_made_from(session: Session) -> None:
    for name in ("base", "several"):
        assert found(session, f"pictures-{name}.keras", f"export-{name}") == []
        assert found(session, f"export-{name}", f"pictures-{name}.keras") == []
    assert [f.title for f in found(session, "pictures-base.keras", "export-several")] == SEVERAL
    assert [f.title for f in found(session, "export-several", "pictures-base.h5")][
        2
    ] == "c2: padding valid against same"
    assert [f.title for f in found(session, "pictures-pooling.keras", "export-base")] == [
        "pool: AveragePooling2D against MaxPooling2D"
    ]
    prepared = [f.title for f in found(session, "pictures-prepared.keras", "export-several")]
    assert prepared[0] == "prepare: scale 0.00784314 against 0.00392157"
    assert prepared[1:] == SEVERAL


@pytest.mark.parametrize("name", ["padding", "policy", "epsilon", "pooling"])
def test_no_tensor_shows_it(name: str, session: Session) -> None:
    one, other = (session.open(str(configured_folder() / f"pictures-{which}.keras")) for which in ("base", name))
    report = list(session.diff(one, other))[-1]
    assert isinstance(report, DiffReport)
    assert {pair.status for pair in report.pairs} == {"identical"}
    assert [f.code for f in report.findings] == ["config-changed"]
    asked = [list(session.diff(one, other, pattern=pattern))[-1] for pattern in ("c1", "")]
    assert [len(r.findings) for r in asked if isinstance(r, DiffReport)] == [0, 1]


def test_a_digest_carries_the_configuration_and_hashes_are_one_in_each_format(session: Session) -> None:
    digests = {}
    for name in ("pictures-base.keras", "pictures-base.h5", "pictures-padding.keras"):
        made = list(session.digest(session.open(str(configured_folder() / name))))[-1]
        assert isinstance(made, Digest)
        digests[name] = read_digest(json.dumps(made.to_json()))
    weights = [
        {
            (t.tensor.layer, t.tensor.role, t.tensor.shape): t.hash
            for t in made.tensors
            if t.tensor.layer and "separable" not in t.tensor.layer
        }
        for made in digests.values()
    ]
    assert weights[0] == weights[1] == weights[2]
    assert len(weights[0]) == 14
    base, h5, padding = digests.values()
    assert config_findings(base.listing, h5.listing) == []
    report = list(session.diff(h5, padding))[-1]
    assert isinstance(report, DiffReport)
    assert [f.title for f in report.findings] == ["c2: padding same against valid"]


@needs_corpus
def test_the_epochs_of_a_run_are_configured_alike(session: Session) -> None:
    paths = sorted((CORPUS / "fer2013-sequence").glob("*.hdf5"))
    listings = [session.open(str(path)) for path in paths]
    assert [f for one in listings[1:] for f in config_findings(listings[0], one)] == []
    print(f"{len(listings)} epochs of a real run: 0 findings")


@needs_samples
def test_the_samples_are_configured_alike(session: Session) -> None:
    names = ("digits.keras", "digits.h5", "digits.weights.h5", "digits_saved_model", "digits/ckpt-5")
    listings = [session.open(str(SAMPLES / name)) for name in names]
    assert [f for one in listings for other in listings for f in config_findings(one, other)] == []
