"""Keras models of every shape: named inputs and outputs, calls that leave nothing behind, where the input gets lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptui.core.random_ops import drawn as drawn_words
from ckptui.core.random_ops import with_seen
from ckptui.errors import Blocked, Cancelled, OutOfMemory, WorkerFailed
from ckptui.predict.answers import Feed
from ckptui.predict.client import Worker
from ckptui.predict.dying import dead_branches, death_of, spread_of, unreached, where_it_dies
from ckptui.predict.loading import Loaded, Order
from ckptui.predict.preprocessing import choose
from ckptui.predict.sandbox import not_enforced
from tests import warm_tensorflow
from tests.places import ROOT, SAMPLES, needs_samples

Facts = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    (folder / "target").mkdir()
    (folder / "target" / "there.txt").write_text("as it was")
    done = warm_tensorflow.run(["-m", "tests.predict.keras_child", folder], cwd=ROOT, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def facts(made: Path) -> Facts:
    found: Facts = json.loads((made / "facts.json").read_text())
    return found


# ---------------------------------------------------------------- inputs and outputs


@pytest.mark.parametrize("name", ["dict", "list", "nested"])
def test_every_structure_of_inputs_is_fed_by_name_and_in_order(facts: Facts, name: str) -> None:
    found = facts["structures"][name]
    assert found["inputs"] == ["zed", "alpha"]
    assert found["same"], "other bits than plain Keras"
    assert found["by_name"]
    assert found["outputs"] == found["described"]
    assert found["refused"] == "usage: nothing is fed to alpha"


def test_all_outputs_come_by_their_names(facts: Facts) -> None:
    assert facts["structures"]["dict"]["outputs"] == ["y", "b"]
    assert facts["structures"]["list"]["outputs"] == ["concatenate", "last"]


# ---------------------------------------------------------------- what a call leaves behind


def test_training_and_the_look_at_the_layers_leave_every_variable_as_it_was(facts: Facts) -> None:
    found = facts["training"]
    assert found["same"]
    assert found["training_differs"]
    assert found["repeats"], "the second call began where the first did"
    assert found["moves_otherwise"] >= 4, "without being put back, statistics and generators move"
    print(
        f"{found['variables']} variables kept to the last bit; {found['moves_otherwise']} move where nothing keeps them"
    )


def test_a_seeded_sequence_of_plain_calls_is_that_of_a_fresh_load(facts: Facts) -> None:
    assert facts["training"]["random"]
    assert facts["training"]["sequence"] == [True, True, True]


def test_kernels_cached_by_seed_start_anew_with_a_load(facts: Facts) -> None:
    assert facts["kernels"] == {"goes_on": True, "restarts": True}


# ---------------------------------------------------------------- where it dies

DEATHS = [
    ("dead_relu", "relu_dead", "dead"),
    ("zero_kernel", "cut", "constant"),
    ("saturated", "full", "saturated"),
    ("not_a_number", "nan", "not finite"),
    ("two_branches", "late", "dead"),
    ("nested_and_shared", "inner (call 2)/gate", "dead"),
    ("live_dropout_over_nothing", "cut", "constant"),
    ("own_dead", "own/gate", "dead"),
]


@pytest.mark.parametrize(("name", "layer", "how"), DEATHS)
def test_the_layer_where_the_input_gets_lost_is_named(facts: Facts, name: str, layer: str, how: str) -> None:
    rows = [spread_of(row) for row in facts["watched"][name]]
    death = death_of(rows)
    assert death is not None
    assert (death.layer, death.how) == (layer, how)
    assert where_it_dies(rows) == layer
    assert layer in death.words


def test_a_dead_branch_beside_a_living_one_is_noted_and_is_no_death(facts: Facts) -> None:
    rows = [spread_of(row) for row in facts["watched"]["residual"]]
    assert where_it_dies(rows) is None
    (branch,) = dead_branches(rows)
    assert (branch.layer, branch.how) == ("branch", "dead")
    assert unreached(rows) == ()


def test_a_living_model_of_its_own_making_dies_nowhere(facts: Facts) -> None:
    rows = [spread_of(row) for row in facts["watched"]["own_alive"]]
    assert len(rows) == 3
    assert where_it_dies(rows) is None
    assert dead_branches(rows) == ()


def test_nested_models_are_opened_and_shared_layers_stand_once_a_call(facts: Facts) -> None:
    names = [row["layer"] for row in facts["watched"]["nested_and_shared"]]
    assert names == [
        "a",
        "b",
        "shared",
        "shared (call 2)",
        "inner/d",
        "inner/gate",
        "inner (call 2)/d",
        "inner (call 2)/gate",
        names[8],
        "tail/t",
        "head",
    ]


def test_what_shows_no_layers_is_said(facts: Facts) -> None:
    assert facts["watched"]["bare"] == "usage: can't look inside: Bare calls no layers of its own"
    assert "no batch of several probes" in facts["watched"]["one_probe"]


def test_the_numbers_of_a_layer_are_numpys_on_plain_keras_activations(facts: Facts) -> None:
    found = facts["numbers"]
    for key in ("spread", "scale", "zeros"):
        assert found[key][0] == pytest.approx(found[key][1], rel=1e-12)
    assert found["weights"] == ["conv/kernel", "conv/bias"]
    assert found["shape"] == [None, 10, 10, 8]


def test_an_output_no_probe_reaches_is_disconnected(facts: Facts) -> None:
    rows = [dict(row, spread=0.0, fed=False) for row in facts["watched"]["dead_relu"]]
    rows[0]["spread"] = 1.0
    death = death_of([spread_of(row) for row in rows])
    assert death is not None
    assert (death.layer, death.how) == ("", "disconnected")
    assert where_it_dies([spread_of(row) for row in rows]) is None


def test_of_two_outputs_the_living_one_does_not_hide_the_dead_one(facts: Facts) -> None:
    dead, alive = facts["watched"]["dead_relu"], facts["watched"]["residual"]
    shift = len(dead)
    moved = [dict(row, sources=[place + shift for place in row["sources"]], outputs=[]) for row in alive]
    moved[-1]["outputs"] = ["other"]
    rows = [spread_of(row) for row in [*dead, *moved]]
    assert where_it_dies(rows) is None
    assert where_it_dies(rows, "head") == "relu_dead"
    assert where_it_dies(rows, "other") is None


# ---------------------------------------------------------------- what stands first


def entry(facts: Facts, name: str, kind: str) -> Facts:
    return next(row for row in facts["firsts"][name] if row["class"] == kind)


def test_numbers_that_scale_the_image_are_told(facts: Facts) -> None:
    assert entry(facts, "rescaling", "Rescaling")["scale"] == [1 / 255]
    assert entry(facts, "sequential", "Rescaling")["offset"] == [0.0]
    nested = entry(facts, "nested", "Rescaling")
    assert (nested["scale"], nested["offset"]) == ([1 / 127.5], [-1.0])
    adapted = entry(facts, "normalization", "Normalization")
    assert adapted["mean"] == pytest.approx([0.5, 0.4, 0.3])
    assert adapted["variance"] == pytest.approx([0.04, 0.05, 0.06])
    assert adapted["unadapted"] is False
    assert entry(facts, "unadapted", "Normalization")["unadapted"] is True


def test_an_export_asks_for_the_preprocessing_of_its_keras_model(facts: Facts) -> None:
    told = {name: both for name, both in facts["exported"].items() if len(both) == 2}
    asked = {name: choose("auto", graph["first"], "float32") for name, (_, graph) in told.items()}
    assert asked == {name: choose("auto", layers, "float32") for name, (layers, _) in told.items()}
    raw = {"signed", "adapted", "both", "divided", "caffe", "grey", "mean"}
    assert {name for name, (how, _) in asked.items() if how == "0..255"} == raw
    assert asked["learned"] == asked["batch"] == ("0..1", "0..1, the model itself does not scale")
    assert "never adapted" in asked["unadapted"][1]


def test_random_operations_are_found_in_branches_and_loops_that_run(facts: Facts) -> None:
    drawn = {name: [one["op"] for one in both[-1]["random"]] for name, both in facts["exported"].items()}
    assert {name: ops for name, ops in drawn.items() if ops} == {
        "branch": ["RandomStandardNormal"],
        "loop": ["RandomUniform"],
        "case": ["RandomUniform"],
    }
    (entry,) = facts["exported"]["loop"][-1]["random"]
    operation = with_seen((), {"random": [entry]})[0]
    assert "seeded with" in drawn_words(operation)
    assert with_seen((operation,), {"random": [entry]}) == (operation,)


def test_arithmetic_in_front_comes_with_its_constants_in_order(facts: Facts) -> None:
    told = [(row["op"], row["constant"], row["reversed"]) for row in facts["firsts"]["operations"] if "op" in row]
    assert told == [
        ("divide", [255.0], False),
        ("multiply", [2.0], True),
        ("subtract", [1.0, 2.0, 3.0], False),
        ("subtract", [1.0], True),
    ]
    assert entry(facts, "turned", "GetItem")["reverses"] is True


# ---------------------------------------------------------------- the real worker


def environment(folder: Path, *, without: tuple[str, ...] = (), only: tuple[str, ...] = ()) -> str:
    """Another Python environment: this interpreter, and links to what is installed beside it, ckptui not among it."""
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    real = Path(sys.executable).resolve()
    (folder / "pyvenv.cfg").write_text(f"home = {real.parent}\ninclude-system-site-packages = false\n")
    (folder / "bin" / "python").symlink_to(real)
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        name = entry.name.lower()
        if "ckptui" in name or entry.suffix == ".pth" or name.startswith(("__editable__", *without)):
            continue
        if not only or name.startswith(only):
            (packages / entry.name).symlink_to(entry)
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> str:
    return environment(tmp_path_factory.mktemp("elsewhere") / "env")


@pytest.fixture(scope="module")
def worker(made: Path, elsewhere: str) -> Any:
    started = Worker(elsewhere)
    yield started
    started.close()


def test_the_worker_runs_in_an_environment_without_ckptui(worker: Worker, elsewhere: str) -> None:
    """All tests below ask a worker of this other environment."""
    command = [elsewhere, "-c", "import ckptui"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)
    assert "No module named 'ckptui'" in done.stderr
    said = worker.hello()
    assert said["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert said["tensorflow"]
    assert said["numpy"] == np.__version__


@pytest.mark.parametrize(("only", "lacking"), [(("nothing",), "numpy"), (("numpy",), "TensorFlow")])
def test_an_environment_without_numpy_or_tensorflow_is_told(
    tmp_path: Path, only: tuple[str, ...], lacking: str
) -> None:
    bare = Worker(environment(tmp_path / "env", only=only))
    with pytest.raises(WorkerFailed, match=f"no usable {lacking} in .*/env/bin/python") as caught:
        bare.hello()
    bare.close()
    assert caught.value.title == "TensorFlow is missing"
    assert "--tf-python" in caught.value.hint


def loaded(worker: Worker, path: Path, kind: str) -> Loaded:
    model = Loaded(worker, Order(str(path), kind))
    model.ensure()
    return model


@needs_samples
def test_the_gate_of_a_sample_that_ignores_its_input_is_found(worker: Worker) -> None:
    model = loaded(worker, SAMPLES / "suspicious" / "ignores_input.keras", "keras-archive")
    rows = model.layers(Feed.of(np.random.default_rng(0).random((5, 16, 16, 1), np.float32)))
    assert where_it_dies(rows) == "gate"
    assert [row.layer for row in rows][:3] == ["image", "conv1", "bn1"]


@needs_samples
@pytest.mark.parametrize("name", ["digits.keras", "digits.h5"])
def test_a_healthy_sample_dies_nowhere_and_has_no_dead_branch(worker: Worker, name: str) -> None:
    kind = "keras-archive" if name.endswith("keras") else "keras-h5"
    rows = loaded(worker, SAMPLES / name, kind).layers(Feed.of(np.random.default_rng(0).random((5, 16, 16, 1))))
    assert where_it_dies(rows) is None
    assert dead_branches(rows) == ()


def test_a_call_with_training_leaves_the_next_plain_calls_as_after_a_fresh_load(worker: Worker, made: Path) -> None:
    feed = Feed.of(np.random.default_rng(1).random((2, 8, 8, 1), np.float32))
    model = loaded(worker, made / "moving.keras", "keras-archive")
    plain, _ = model.call(feed, 3)
    model.ensure(again=True)
    model.call(feed, 2, training=True)
    model.layers(feed)
    again, _ = model.call(feed, 3)
    assert [a.same_bits(b) for a, b in zip(plain, again, strict=True)] == [True, True, True]
    assert not plain[0].same_bits(plain[1])


def test_the_cage_reports_what_holds_and_the_words_are_for_what_does_not(worker: Worker) -> None:
    cage = worker.hello()["cage"]
    assert {"writes", "network", "programs", "core", "parent_death"} <= set(cage)
    missing = not_enforced(cage)
    assert len(missing) == sum(
        1 for name in ("writes", "network", "programs", "core", "parent_death") if not cage[name]
    )
    assert len(not_enforced({})) == 5
    assert any("GPU" in words for words in not_enforced(dict(cage, gpu=True, programs=False)))
    assert any("cut files short" in words for words in not_enforced(dict(cage, writes=True, landlock=2)))
    print("not enforced on this machine: " + ("; ".join(missing) or "nothing"))


@pytest.mark.parametrize(
    ("act", "words", "file"),
    [
        ("write", "tried to write .*/target/written.txt; ckptui does not let it", "written.txt"),
        ("print", "tried to write .*/target/printed.txt; ckptui does not let it", "printed.txt"),
        ("save", "tried to write .*/target/ck.*; ckptui does not let it", "ck.data-00000-of-00001"),
        ("overwrite", "tried to write .*/target/there.txt; ckptui does not let it", ""),
    ],
)
def test_a_model_that_writes_is_blocked_and_that_is_said(
    worker: Worker, made: Path, act: str, words: str, file: str
) -> None:
    if not worker.hello()["cage"]["writes"]:
        pytest.skip("this kernel offers no Landlock")
    model = loaded(worker, made / ("reach_" + act), "saved-model")
    with pytest.raises(Blocked, match=words):
        model.call(Feed.of(np.ones((1, 4), np.float32)))
    assert (made / "target" / "there.txt").read_text() == "as it was"
    assert sorted(entry.name for entry in (made / "target").iterdir()) == ["there.txt"]
    assert worker.pid is not None, "a refusal is an answer: the worker lives on"


def test_a_model_that_only_reads_is_not_called_blocked(worker: Worker, made: Path) -> None:
    model = loaded(worker, made / "reach_read", "saved-model")
    answers, _ = model.call(Feed.of(np.ones((1, 4), np.float32)))
    assert answers[0].main.reshape(-1).tolist() == [11.0] * 4


def test_a_model_that_connects_is_blocked_at_once_and_the_next_request_works(worker: Worker, made: Path) -> None:
    if not worker.hello()["cage"]["network"]:
        pytest.skip("this kernel offers no seccomp filter")
    model = loaded(worker, made / "reach_connect", "saved-model")
    with pytest.raises(Blocked, match="tried to open a network connection; ckptui does not let it"):
        model.call(Feed.of(np.ones((1, 4), np.float32)))
    assert worker.pid is None


def test_a_real_worker_cancelled_or_killed_answers_the_next_request_as_ever(worker: Worker, made: Path) -> None:
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    model = Loaded(worker, Order(str(made / "moving.keras"), "keras-archive"))
    with pytest.raises(Cancelled):
        model.ensure(cancel)
    model.ensure()
    feed = Feed.of(np.random.default_rng(1).random((2, 8, 8, 1), np.float32))
    first, _ = model.call(feed)
    model.ensure(again=True)
    again, _ = model.call(feed)
    assert again[0].same_bits(first[0])
    pid = worker.pid
    assert pid is not None
    threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(WorkerFailed, match="was killed by SIGKILL"):
        model.call(feed, 100_000)
    assert not os.path.exists(f"/proc/{pid}")
    assert worker.pid is None


def test_a_worker_over_its_memory_is_ended_and_says_so() -> None:
    small = Worker(memory=120 << 20)
    with pytest.raises(OutOfMemory, match="it needed more than 120 MB and was killed"):
        small.hello()
    assert small.pid is None
    small.close()
