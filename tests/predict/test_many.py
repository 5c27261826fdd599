"""Many images: verdicts on planted symmetries, what is left out and said, answers that never differ."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from ckptui.core.model import Finding, ManyImages
from ckptui.errors import Cancelled, NoSuchPath, UsageError
from ckptui.predict.answers import Answer, Feed
from ckptui.predict.controls import CHANGES
from ckptui.predict.flip_judgement import Moved, judged
from ckptui.predict.image import Form, ImageReader
from ckptui.predict.labels import Labels
from ckptui.predict.loading import Loaded
from ckptui.predict.many import gather, many_images
from ckptui.predict.recipe import Recipe

Array = np.ndarray[Any, Any]

SIDE, CLASSES = 16, 6
FORM = Form("image", "float32", (None, SIDE, SIDE, 1), (SIDE, SIDE), 1, "hwc")
DRAW = np.random.default_rng(12)
GLYPHS = (DRAW.random((CLASSES, 4, 4)) > 0.5).repeat(4, axis=1).repeat(4, axis=2).astype(np.float64)


def softmax(values: Array) -> Array:
    """Over the last axis."""
    grown = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=-1, keepdims=True))


def seen(batch: Array) -> Array:
    """Probabilities [n, CLASSES] of pictures [n, SIDE, SIDE, 1] in 0..1: which glyph is nearest."""
    apart = (batch.astype(np.float64)[:, None, :, :, 0] - GLYPHS) ** 2
    return softmax(-apart.mean(axis=(2, 3)) * 20)


def blind_to(*flips: str) -> Callable[[Array], Array]:
    """The same, symmetric by construction under these flips."""
    sides: list[Callable[[Array], Array]] = [lambda x: x]
    sides += [lambda x: x[:, :, ::-1]] if "lr" in flips else []
    sides += [lambda x: x[:, ::-1]] if "ud" in flips else []
    sides += [lambda x: x[:, ::-1, ::-1]] if len(flips) == 2 else []
    return lambda batch: np.asarray(np.mean([seen(side(batch)) for side in sides], axis=0))


class Stub:
    """A model that is a function, and how it was asked."""

    def __init__(self, function: Callable[[Array], Array]) -> None:
        self.function = function
        self.order = SimpleNamespace(path="stub.keras")
        self.sizes: list[int] = []

    def call(self, feed: Feed, calls: int = 1, cancel: threading.Event | None = None) -> tuple[list[Answer], float]:
        if cancel is not None and cancel.is_set():
            raise Cancelled("stopped")
        self.sizes.append(len(feed.first))
        return [Answer.of([("out", np.asarray(self.function(feed.first)))]) for _ in range(calls)], 0.0


@pytest.fixture(scope="module")
def reader() -> Iterator[ImageReader]:
    made = ImageReader()
    yield made
    made.close()


def write_images(folder: Path, count: int, seed: int = 0) -> None:
    """Noisy glyphs in turn, one folder a class."""
    draw = np.random.default_rng(seed)
    for place in range(count):
        noisy = GLYPHS[place % CLASSES] * 150 + 40 + draw.normal(0, 12, (SIDE, SIDE))
        target = folder / f"class{place % CLASSES}" / f"{place:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(target)


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forty")
    write_images(folder, 40)
    return folder


class Told:
    """Everything a run over a folder yields, sorted."""

    def __init__(self, model: Stub, folder: Path, reader: ImageReader, form: Form = FORM, **more: Any) -> None:
        recipe = Recipe(form, "0..1", "0..1")
        told = list(many_images(cast(Loaded, model), str(folder), recipe, reader, Labels(), **more))
        self.lines = [item for item in told if isinstance(item, str)]
        (self.many,) = [item for item in told if isinstance(item, ManyImages)]
        self.findings = [item for item in told if isinstance(item, Finding)]
        self.codes = [finding.code for finding in self.findings]
        self.moves = {move.name: move for move in self.many.moves}


@pytest.mark.parametrize(
    ("flips", "verdict"),
    [
        ((), "Reacts to both flips as to a turn by 90 degrees: nothing points to training with flipped images"),
        (("lr",), "Survives left-right flips as it does no other large change: trained with left-right flips"),
        (("ud",), "Survives up-down flips as it does no other large change: trained with up-down flips"),
        (("lr", "ud"), "Survives both flips as it does no turn by 90 degrees: trained with both flips"),
    ],
)
def test_a_planted_symmetry_is_named(flips: tuple[str, ...], verdict: str, forty: Path, reader: ImageReader) -> None:
    told = Told(Stub(blind_to(*flips)), forty, reader)
    assert told.many.verdict.startswith(verdict), told.many.verdict
    assert told.many.measure == "total variation"
    assert list(told.moves) == list(CHANGES)
    assert [move.control for move in told.many.moves] == [False] * 3 + [True] * 6
    for name, short in (("flip-left-right", "lr"), ("flip-up-down", "ud")):
        move = told.moves[name]
        assert move.low <= move.mean <= move.high
        assert (move.mean < 1e-12) == (short in flips)
    assert ("flip-changes-prediction" in told.codes) == (len(flips) < 2)


def test_the_figures_are_those_of_a_plain_computation(forty: Path, reader: ImageReader) -> None:
    told = Told(Stub(seen), forty, reader)
    paths = sorted(forty.rglob("*.png"), key=str)
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])[..., None] / np.float32(255)
    usual, flipped = seen(pixels), seen(pixels[:, :, ::-1])
    move = told.moves["flip-left-right"]
    assert move.mean == pytest.approx((np.abs(usual - flipped).sum(axis=1) / 2).mean(), rel=1e-12)
    assert move.changed == (usual.argmax(axis=1) != flipped.argmax(axis=1)).mean()
    assert told.many.spread == np.ptp(usual, axis=0).max()
    assert told.many.images == sum(count for _, count in told.many.classes) == 40
    share = next(f for f in told.findings if f.code == "flip-changes-prediction").evidence["shares"]
    assert share["flip-left-right"]["share"] == move.changed


def test_logits_are_measured_by_the_spread_between_images(forty: Path, reader: ImageReader) -> None:
    told = Told(Stub(lambda batch: 7 * np.log(seen(batch)) + 3), forty, reader)
    assert told.many.measure == "share of the spread"
    scaled = Told(Stub(lambda batch: 700 * np.log(seen(batch))), forty, reader)
    for name, move in told.moves.items():
        assert move.mean == pytest.approx(scaled.moves[name].mean, rel=1e-9)
    assert told.many.verdict.startswith("Reacts to both flips")


def test_one_sigmoid_is_a_probability_of_two(forty: Path, reader: ImageReader) -> None:
    told = Told(Stub(lambda batch: seen(batch)[:, :1]), forty, reader)
    assert told.many.measure == "total variation"
    pixels = np.stack([np.asarray(Image.open(p)) for p in sorted(forty.rglob("*.png"), key=str)])[..., None] / 255
    wanted = np.abs(seen(pixels)[:, 0] - seen(pixels[:, ::-1])[:, 0]).mean()
    assert told.moves["flip-up-down"].mean == pytest.approx(wanted, abs=1e-6)


def test_what_is_no_image_is_named_and_left_out_in_order(tmp_path: Path, reader: ImageReader) -> None:
    write_images(tmp_path, 21)
    (tmp_path / "a \x1b[31mbroken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (tmp_path / "notes.txt").write_text("no image")
    np.save(tmp_path / "wrong.npy", np.zeros((4, 4, 4, 4, 1), np.float32))
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    told = Told(Stub(seen), tmp_path, reader)
    assert told.many.images == 21
    assert len(told.many.failed) == 2
    assert told.many.failed[0].endswith("and .npy are taken")
    assert "\x1b" not in "".join(told.many.failed)
    assert told.many.failed[1].startswith("wrong.npy: ")
    assert told.many.verdict.startswith("Reacts")
    assert any(line.startswith("image ") for line in told.lines)


def test_too_few_images_give_numbers_and_no_verdict(tmp_path: Path, reader: ImageReader) -> None:
    write_images(tmp_path, 19)
    told = Told(Stub(seen), tmp_path, reader)
    assert told.many.verdict.startswith("19 images: numbers only")
    assert len(told.many.moves) == 9


def test_no_folder_no_image_no_usable_image(tmp_path: Path, reader: ImageReader) -> None:
    with pytest.raises(NoSuchPath):
        Told(Stub(seen), tmp_path / "nowhere", reader)
    with pytest.raises(UsageError, match="holds no PNG"):
        Told(Stub(seen), tmp_path, reader)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"none of 1 file.*bad\.png"):
        Told(Stub(seen), tmp_path, reader)


def test_a_cap_takes_every_nth_and_says_so(forty: Path, reader: ImageReader) -> None:
    told = Told(Stub(seen), forty, reader, most=24)
    assert told.many.images == 24
    assert "24 of 40 images" in told.lines[0]
    assert "24 of 40 images" in told.many.verdict
    assert len({label for label, _ in told.many.classes}) == CLASSES
    assert list(gather(str(forty)).paths) == sorted(gather(str(forty)).paths)


def test_calls_are_bounded_and_a_fixed_batch_is_kept(forty: Path, reader: ImageReader) -> None:
    model = Stub(seen)
    Told(model, forty, reader)
    assert max(model.sizes) == 32
    for rows in (1, 4):
        fixed = Stub(seen)
        form = Form("image", "float32", (rows, SIDE, SIDE, 1), (SIDE, SIDE), 1, "hwc")
        told = Told(fixed, forty, reader, form)
        assert set(fixed.sizes) == {rows}
        assert told.many.images == 40


def test_answers_that_depend_on_the_batch_are_asked_one_by_one(forty: Path, reader: ImageReader) -> None:
    model = Stub(lambda batch: softmax(5 * (seen(batch) - seen(batch).mean(axis=0))))
    told = Told(model, forty, reader)
    assert "one by one: an image's answer depends on the batch" in told.many.verdict
    assert model.sizes.count(1) >= 40 * 10

    def refuses(batch: Array) -> Array:
        if len(batch) > 1:
            raise UsageError("the model refuses the image")
        return seen(batch)

    assert Told(Stub(refuses), forty, reader).many.images == 40
    flat = Told(Stub(lambda batch: seen(batch)[0]), forty, reader)
    assert "the model gives one answer a batch" in flat.many.verdict
    assert flat.many.images == 40


def test_one_answer_to_all_images_is_constant(forty: Path, reader: ImageReader) -> None:
    told = Told(Stub(lambda batch: np.full((len(batch), 3), [0.2, 0.3, 0.5], np.float32)), forty, reader)
    assert told.codes == ["constant-output"]
    (finding,) = told.findings
    assert (finding.severity, finding.certainty) == ("error", "confirmed")
    assert finding.evidence["spread"] == 0
    assert finding.evidence["distinct"] == 40
    assert told.many.verdict.startswith("All 40 images have the same answer")
    nearly = Told(
        Stub(lambda batch: np.ones((len(batch), 2)) + batch.mean(axis=(1, 2, 3))[:, None] * 1e-9), forty, reader
    )
    assert nearly.codes == ["constant-output"]
    assert 0 < nearly.findings[0].evidence["spread"] < 1e-7
    assert nearly.findings[0].certainty == "likely"


def test_a_sure_classifier_and_copies_of_one_image_are_not_called_constant(
    tmp_path: Path, forty: Path, reader: ImageReader
) -> None:
    def sure(batch: Array) -> Array:
        """All pictures of glyphs are glyphs; blank ones and their negatives are not."""
        glyph = (batch.mean(axis=(1, 2, 3)) > 0.05) & (batch.mean(axis=(1, 2, 3)) < 0.99)
        return np.stack([glyph, ~glyph], axis=1).astype(np.float32)

    told = Told(Stub(sure), forty, reader)
    assert "constant-output" not in told.codes
    assert told.many.verdict.startswith("All 40 images have the same answer, though")
    write_images(tmp_path, 1)
    picture = next(tmp_path.rglob("*.png"))
    for place in range(4):
        (tmp_path / f"copy{place}.png").write_bytes(picture.read_bytes())
    assert "constant-output" not in Told(Stub(seen), tmp_path, reader).codes


def test_a_model_that_answers_otherwise_each_time_gets_no_verdict(forty: Path, reader: ImageReader) -> None:
    draw = np.random.default_rng(0)
    told = Told(
        Stub(lambda batch: softmax(np.log(seen(batch)) + draw.normal(0, 0.5, (len(batch), CLASSES)))), forty, reader
    )
    assert told.codes == []
    assert "asked twice differ" in told.many.verdict or "depends on the batch" in told.many.verdict


def test_maps_and_answers_that_are_not_finite(forty: Path, reader: ImageReader) -> None:
    told = Told(Stub(lambda batch: batch), forty, reader)
    assert told.many.verdict.startswith("The output is a map")

    def broken(batch: Array) -> Array:
        answer = seen(batch)
        answer[batch[:, 0, 0, 0] > 0.5] = np.nan
        return answer

    told = Told(Stub(broken), forty, reader)
    assert told.many.images + len(told.many.failed) == 40
    assert all(line.endswith("not finite") for line in told.many.failed)
    assert told.many.failed


def test_cancelled_at_once(forty: Path, reader: ImageReader) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        Told(Stub(seen), forty, reader, cancel=cancel)


def moved(left_right: float, up_down: float, turn: float, count: int, seed: int, **more: Any) -> Moved:
    """Moves as trained models show them: near 0 or near 1 for most images."""
    draw = np.random.default_rng(seed)

    def values(mean: float) -> Array:
        return draw.beta(0.3 * mean, 0.3 * (1 - mean), count)

    given = {"flip-left-right": values(left_right), "flip-up-down": values(up_down), "rotate-90": values(turn)}
    return Moved(given, dict.fromkeys(given, np.zeros(count, bool)), True, **more)


def verdicts(cases: Sequence[tuple[float, float, float]], count: int, rounds: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for case in cases:
        for seed in range(rounds):
            words = " ".join(judged(moved(*case, count, seed)).split()[:2])
            found[words] = found.get(words, 0) + 1
    return found


def test_chance_makes_no_symmetry() -> None:
    cases = [(0.55, 0.6, 0.9), (0.3, 0.3, 0.35), (0.25, 0.6, 0.9), (0.2, 0.25, 0.6), (0.02, 0.02, 0.03)]
    found = {count: verdicts(cases, count, 100) for count in (20, 50, 200)}
    for count, said in found.items():
        false = sum(times for words, times in said.items() if words.startswith("Survives"))
        print(f"{count} images, 500 draws without a symmetry: {false} called one")
        assert false <= 10
    planted = verdicts([(0.03, 0.55, 0.9), (0.05, 0.6, 0.85)], 100, 100)
    print(f"100 images, 200 draws with one: {planted.get('Survives left-right', 0)} named")
    assert planted["Survives left-right"] >= 195


def test_symmetric_pictures_are_no_evidence() -> None:
    words = judged(moved(0.01, 0.6, 0.9, 100, 0, mirrors={"flip-left-right": 0.7, "flip-up-down": 0.1}))
    assert words == "Most images look almost the same when mirrored: nothing is said about left-right flips."
    assert judged(moved(0.001, 0.001, 0.002, 100, 0)).startswith("The answer hardly follows the layout")
