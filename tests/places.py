"""Where the third-party test data lies, and the marks that skip a test where it does not."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
CORPUS = SHARED / "corpus"
HOSTILE = SHARED / "hostile"
ESTIMATOR = SHARED / "estimator_model_dir"
SAMPLES = ROOT / "sample_models"

needs_corpus = pytest.mark.skipif(not CORPUS.is_dir(), reason=f"third-party models not found at {CORPUS}")
needs_hostile = pytest.mark.skipif(not HOSTILE.is_dir(), reason=f"hostile file makers not found at {HOSTILE}")
needs_estimator = pytest.mark.skipif(not ESTIMATOR.is_dir(), reason=f"Estimator folder not found at {ESTIMATOR}")
needs_tensorflow = pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs tensorflow")
"""Looks whether it is there: an import would cost seconds in every process of the tests."""
needs_samples = pytest.mark.skipif(
    not (SAMPLES / "digits.keras").exists(), reason=f"sample models not found at {SAMPLES}"
)
