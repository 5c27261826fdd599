"""Random flipped bits in the values of HDF5 files: every one that shows is found, with its bit; real values are not."""

from __future__ import annotations

import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckptui.core.dtypes import is_float
from ckptui.core.implausible import RATIO
from ckptui.core.model import Finding, Tensor
from ckptui.core.names import is_weight
from ckptui.core.peaks import peaks_of
from ckptui.engine.checked import Files
from ckptui.engine.scan import Scanner
from ckptui.gathering import gather
from ckptui.readers.keras_h5 import open_h5
from ckptui.session import Session
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_corpus, needs_estimator, needs_samples
from tests.test_cli import document

TRAINED = (
    "fer2013-sequence/fer2013_mini_XCEPTION.110-0.65.hdf5",
    "face-classification/mini_XCEPTION_KDEF.hdf5",
    "mlperf-tiny/pretrainedResnet.h5",
    "magika-v1/model.h5",
)
CODES = ("non-finite", "implausible-values")


@dataclass(slots=True)
class Tally:
    """What became of random flips."""

    flips: int = 0
    shown: int = 0
    """Not finite, or beyond 20 times the largest magnitude there was."""
    far: int = 0
    """Not finite, or beyond 1,000 times."""
    found: int = 0
    right: int = 0
    besides: int = 0
    """Found although within 20 times the largest: what is flipped was the tensor's largest value, or it is small."""

    def __str__(self) -> str:
        return (
            f"{self.flips:,} flips: {self.shown} show ({self.shown / self.flips:.1%}; {self.far / self.flips:.1%} are "
            f"beyond 1,000 times or no number), {self.found} found, {self.right} with the right bit; "
            f"{self.besides} others found, {self.flips - self.shown - self.besides:,} stay in range"
        )


def floats(path: Path, *, slots: bool = False) -> list[Tensor]:
    """The float32 tensors of a file that lie plainly in it: weights, or what its optimizer keeps."""
    with open_h5(path) as opened:
        return [
            t
            for t in opened.listing().tensors
            if t.dtype == "float32" and t.storage.segment is not None and t.count > 1
            if (t.role == "slot" if slots else is_weight(t.role, t.dtype) and not t.name.startswith("optimizer"))
        ]


def flip_at_random(path: Path, tensors: list[Tensor], count: int, seed: int) -> tuple[Tally, list[str]]:
    """Flip one bit at a time in a copy, scan its tensor as `check` does, and turn it back."""
    rng = np.random.default_rng(seed)
    sizes = np.array([t.count for t in tensors])
    tally, wrong = Tally(), []
    data = path.read_bytes()
    which = np.sort(rng.choice(len(tensors), count, p=sizes / sizes.sum()))
    with open_h5(path) as opened, path.open("r+b", buffering=0) as file:
        for number in which:
            tensor = tensors[number]
            segment = tensor.storage.segment
            assert segment is not None
            values = np.frombuffer(data, "<f4", tensor.count, segment.offset)
            at, bit = int(rng.integers(tensor.count)), int(rng.integers(32))
            place = segment.offset + 4 * at + bit // 8
            os.pwrite(file.fileno(), bytes([data[place] ^ 1 << bit % 8]), place)
            files = Files()
            scan = Scanner(str(path), opened, files, lambda done: None, stats=False, check=True).scan(tensor)
            files.close()
            changed = float(np.frombuffer(os.pread(file.fileno(), 4, segment.offset + 4 * at), "<f4")[0])
            os.pwrite(file.fileno(), data[place : place + 1], place)
            found = [f for f in scan.findings if f.code in CODES]
            problem = account(tally, values, changed, (at, bit, place), found)
            if problem:
                wrong.append(f"{tensor.name}[{at}] bit {bit}: {values[at]} became {changed}: {problem}")
    assert path.read_bytes() == data
    return tally, wrong


def account(tally: Tally, before: np.ndarray, changed: float, flip: tuple[int, int, int], found: list[Finding]) -> str:
    """Count one flip; what is wrong about what was said of it, if it shows."""
    at, bit, place = flip
    largest = float(np.abs(before).max())
    tally.flips += 1
    if math.isfinite(changed) and abs(changed) <= RATIO * largest:
        tally.besides += bool(found)
        return ""
    tally.shown += 1
    tally.far += not math.isfinite(changed) or abs(changed) > 1000 * largest
    if len(found) != 1:
        return f"told {[f.code for f in found]}"
    tally.found += 1
    (finding,) = found
    assert finding.evidence["flat_index"] == at
    assert finding.code == ("implausible-values" if math.isfinite(changed) else "non-finite")
    named = finding.evidence.get("flipped_bit") or {}
    if named.get("bit") != bit:
        return f"named {named}"
    assert (named["offset"], named["value"]) == (place, float(before[at]))
    assert named["byte_found"] ^ named["byte_repaired"] == 1 << named["bit_of_byte"] == 1 << bit % 8
    tally.right += 1
    return ""


def added(tallies: list[Tally]) -> Tally:
    names = Tally.__dataclass_fields__
    return Tally(**{name: sum(getattr(one, name) for one in tallies) for name in names})


@needs_corpus
def test_ten_thousand_flips_in_trained_weights(tmp_path: Path) -> None:
    tallies, wrong = [], []
    for seed, name in enumerate(TRAINED):
        path = Path(shutil.copy(CORPUS / name, tmp_path / f"{seed}.h5"))
        tally, problems = flip_at_random(path, floats(path), 10_000 // len(TRAINED), seed)
        tallies.append(tally)
        wrong += problems
    total = added(tallies)
    print(total)
    assert not wrong
    assert total.flips == 10_000
    assert total.found == total.right == total.shown
    assert 0.03 < total.shown / total.flips < 0.06


@needs_corpus
def test_flips_in_what_optimizers_keep_are_all_found(tmp_path: Path) -> None:
    """Moments span many orders of magnitude: of some flips two bits would do, and the likelier one is not it."""
    tallies, wrong = [], []
    for seed, name in enumerate(("fer2013-sequence/fer2013_mini_XCEPTION.110-0.65.hdf5", "magika-v1/model.h5")):
        path = Path(shutil.copy(CORPUS / name, tmp_path / f"{seed}.h5"))
        tally, problems = flip_at_random(path, floats(path, slots=True), 1500, seed)
        tallies.append(tally)
        wrong += problems
    total = added(tallies)
    print(total)
    assert total.found == total.shown
    assert total.right >= 0.95 * total.shown
    assert all(f"'bit': {line.split(' bit ')[1].split(':')[0]}," in line for line in wrong), "not among the others"


@needs_samples
def test_flips_in_a_small_trained_model(tmp_path: Path) -> None:
    path = Path(shutil.copy(SAMPLES / "digits.h5", tmp_path / "m.h5"))
    tally, wrong = flip_at_random(path, floats(path), 2500, 11)
    print(tally)
    assert not wrong
    assert tally.found == tally.right == tally.shown > 60


@needs_samples
def test_flips_from_the_command_line(tmp_path: Path) -> None:
    """Some dozens of copies, each with one bit that shows, by one call of `check`."""
    rng = np.random.default_rng(2)
    source = SAMPLES / "digits.h5"
    tensors = floats(source)
    sizes = np.array([t.count for t in tensors])
    data = source.read_bytes()
    flips: dict[str, tuple[str, int, int]] = {}
    while len(flips) < 36:
        tensor = tensors[rng.choice(len(tensors), p=sizes / sizes.sum())]
        segment = tensor.storage.segment
        assert segment is not None
        values = np.frombuffer(data, "<f4", tensor.count, segment.offset).copy()
        at, bit = int(rng.integers(tensor.count)), int(rng.integers(24, 31))
        largest = np.abs(values).max()
        values.view("<u4")[at] ^= np.uint32(1 << bit)
        if abs(values[at]) <= RATIO * largest:
            continue
        name = f"{len(flips):02d}.h5"
        (tmp_path / name).write_bytes(
            data[: segment.offset] + values.tobytes() + data[segment.offset + segment.bytes :]
        )
        flips[name] = (tensor.name, at, bit)
    told = document("check", str(tmp_path), code=1)["findings"]
    said = {
        os.path.basename(f["artifact"]): (f["tensor"], f["evidence"]["flat_index"], f["evidence"]["flipped_bit"]["bit"])
        for f in told
        if f["code"] in CODES
    }
    assert said == flips
    assert {f["severity"] for f in told} == {"error"}
    print(f"{len(flips)} of {len(flips)} flips told by one call of check, with tensor, index and bit")


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4", ">f8"])
def test_other_dtypes_and_byte_orders_name_the_byte(tmp_path: Path, dtype: str) -> None:
    kind = np.dtype(dtype)
    values = np.random.default_rng(4).normal(0, 0.2, (12, 30)).astype(kind)
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        start = file.create_dataset("conv/kernel", data=values).id.get_offset()
    size = kind.itemsize
    top = 8 * size - 2
    byte = start + 37 * size + (0 if dtype.startswith(">") else size - 1)
    data = bytearray(path.read_bytes())
    data[byte] ^= 0x40
    path.write_bytes(data)
    files = Files()
    with open_h5(path) as opened:
        (tensor,) = opened.listing().tensors
        (finding,) = Scanner(str(path), opened, files, lambda done: None, stats=True, check=True).scan(tensor).findings
    files.close()
    flip = finding.evidence["flipped_bit"]
    assert (finding.code, finding.evidence["index"]) == ("implausible-values", [1, 7])
    assert (flip["bit"], flip["offset"], flip["value"]) == (top, byte, float(values[1, 7]))
    assert (flip["byte_found"], flip["byte_found"] ^ flip["byte_repaired"]) == (data[byte], 0x40)


@needs_corpus
@needs_estimator
@needs_samples
def test_no_alarm_on_real_models() -> None:
    """Every value of the corpus' models, with their optimizers, and of the samples that are not spoilt."""
    roots = [str(p) for p in sorted(CORPUS.iterdir()) if p.is_dir() and p.name not in ("hdf5-cve", "jhdf")]
    roots += [str(ESTIMATOR)]
    roots += [str(p) for p in sorted(SAMPLES.iterdir()) if p.name not in ("broken", "suspicious", "images")]
    judged, largest, alarms = 0, (0.0, ""), []
    with Session() as session:
        for found in gather(session, roots).saves:
            listing = session.open(found.path, found.kind, found)
            for item in session.scan(listing, stats=False):
                alarms += [f for f in getattr(item, "findings", ()) if f.code in CODES]
            for tensor in listing.tensors:
                if not is_float(tensor.dtype) or tensor.count < 2 or tensor.problem or "sugyan" in found.path:
                    continue
                peaks = peaks_of(session.array(listing, tensor.name))
                judged += 1
                if peaks.second and peaks.largest:
                    largest = max(largest, (abs(peaks.largest) / peaks.second, f"{tensor.name} of {found.label}"))
    print(f"{len(alarms)} alarms on {judged:,} tensors; the largest ratio is {largest[0]:.2f}: {largest[1][-60:]}")
    assert not alarms, json.dumps([f.to_json() for f in alarms[:5]])
    assert judged > 3000
    assert largest[0] < RATIO / 3
