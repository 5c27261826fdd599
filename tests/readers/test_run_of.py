"""Which run a path means, which saves are one, in what order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptui.core.model import RunFolder
from ckptui.errors import NoSuchPath, NotASave, UsageError
from ckptui.readers.run_of import run_at, run_or_none, saves_of
from tests.places import CORPUS, ESTIMATOR, SAMPLES, needs_corpus, needs_estimator, needs_samples
from tests.readers.saves import HDF5, KERAS_H5, V1, Walk, checkpoint, keras_zip, saved_model, state


def labels(run: RunFolder) -> list[str]:
    """Saves of a run by their path under its folder."""
    base = run.path.partition("*")[0].rpartition("/")[0] if "*" in run.path else run.path
    return [os.path.relpath(path, base) for path in run.saves]


def steps(run: RunFolder) -> list[int | None]:
    return [found.step for found in saves_of(run)]


def write(path: Path) -> None:
    """A small save of the kind that the name promises."""
    if path.suffix == ".keras":
        keras_zip(path)
    else:
        path.write_bytes(KERAS_H5)


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["weights.05-0.56.hdf5", "weights.10-0.51.hdf5", "weights.100-0.40.hdf5"], [5, 10, 100]),
        (["model_epoch_7.keras", "model_epoch_8.keras", "model_epoch_12.keras"], [7, 8, 12]),
        (["cp-0003.weights.h5", "cp-0010.weights.h5"], [3, 10]),
        (["ckpt_00002_val0.43.h5", "ckpt_00012_val0.4.h5"], [2, 12]),
        (["ep007-loss12.3-val_loss11.h5", "ep012-loss9.25-val_loss8.h5"], [7, 12]),
        (["acc0.81_epoch3.h5", "acc0.93_epoch12.h5"], [3, 12]),
        (["checkpoint_9.keras", "checkpoint_10.keras"], [9, 10]),
        (["weights-improvement-05-0.87.hdf5", "weights-improvement-11-0.91.hdf5"], [5, 11]),
        (["00009.weights.h5", "00010.weights.h5"], [9, 10]),
    ],
)
def test_epoch_files_in_order_of_their_steps(tmp_path: Path, names: list[str], wanted: list[int]) -> None:
    for place, name in enumerate(reversed(names)):
        write(tmp_path / name)
        os.utime(tmp_path / name, (1000 + place, 1000 + place))
    for other in ("best.keras", "best_model.h5", "final.weights.h5", "model-0.93.h5"):
        write(tmp_path / other)
    run = run_at(tmp_path)
    assert labels(run) == names, "neither names nor times decide"
    assert steps(run) == wanted
    assert all(found.run == run.path for found in saves_of(run))


def test_a_metric_is_no_step(tmp_path: Path) -> None:
    for name in ("model-0.93.h5", "model-0.95.h5", "best.0.7.keras"):
        write(tmp_path / name)
    walk = Walk(tmp_path)
    assert not walk.runs
    assert {save.step for save in walk.saves.values()} == {None}


def test_weights_and_whole_models_that_take_turns_are_one_run(tmp_path: Path) -> None:
    names = ["epoch_01.keras", "epoch_02.weights.h5", "epoch_03.keras", "epoch_04.weights.h5"]
    for name in names:
        write(tmp_path / name)
    assert labels(run_at(tmp_path)) == names


def test_both_forms_of_every_epoch_are_two_runs(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write(tmp_path / f"epoch_{step}.keras")
        write(tmp_path / f"epoch_{step}.weights.h5")
    with pytest.raises(UsageError) as error:
        run_at(tmp_path)
    assert error.value.hint.count("epoch_*") == 2


def test_plain_hdf5_is_a_run_where_names_speak_of_epochs(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        (tmp_path / f"epoch_{step}.h5").write_bytes(HDF5)
        (tmp_path / f"data-{step}.h5").write_bytes(HDF5)
    assert labels(run_at(tmp_path)) == ["epoch_1.h5", "epoch_2.h5", "epoch_10.h5"]


def test_old_checkpoints(tmp_path: Path) -> None:
    for step in (5, 40, 300):
        (tmp_path / f"model.ckpt-{step}").write_bytes(V1)
    assert steps(run_at(tmp_path)) == [5, 40, 300]


def test_a_state_file_that_lists_fewer_than_are_there(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        checkpoint(tmp_path / f"ckpt-{step}")
    checkpoint(tmp_path / "best-3")
    state(tmp_path, "ckpt-10", ["ckpt-3", "ckpt-10"])
    run = run_at(tmp_path)
    assert labels(run) == ["ckpt-1", "ckpt-2", "ckpt-3", "ckpt-10"]
    assert run.latest.endswith("ckpt-10")


def test_what_keras_keeps_to_go_on_is_one_save(tmp_path: Path) -> None:
    write(tmp_path / "latest.weights.h5")
    write(tmp_path / "latest.weights.h5.bkp")
    (tmp_path / "training_metadata.json").write_text('{"epoch": 3}')
    with pytest.raises(NotASave):
        run_at(tmp_path)
    assert run_or_none(tmp_path) is None


# ---------------------------------------------------------------------- a folder for each save


def test_a_checkpoint_in_each_numbered_folder(tmp_path: Path) -> None:
    for step in (1000, 200, 30):
        checkpoint(tmp_path / f"step_{step}" / "ckpt")
        state(tmp_path / f"step_{step}", "ckpt")
    walk = Walk(tmp_path)
    assert set(walk.runs) == {str(tmp_path)}, "the state files in them make no runs of one save"
    run = run_at(tmp_path)
    assert labels(run) == ["step_30/ckpt", "step_200/ckpt", "step_1000/ckpt"]
    assert steps(run) == [30, 200, 1000]
    assert [save.step for save in walk.saves.values()] == [30, 200, 1000]
    assert {save.run for save in walk.saves.values()} == {str(tmp_path)}
    assert isinstance(walk.order[0], RunFolder)


@pytest.mark.parametrize("name", ["{}", "epoch_{}", "checkpoint-{}", "model_ep{}"])
@pytest.mark.parametrize("inside", ["model.keras", "weights.h5", "model.ckpt-{}.weights.h5"])
def test_a_file_in_each_numbered_folder(tmp_path: Path, name: str, inside: str) -> None:
    for step in (3, 10):
        folder = tmp_path / name.format(step)
        folder.mkdir()
        write(folder / inside.format(step))
    assert steps(run_at(tmp_path)) == [3, 10]
    assert run_or_none(tmp_path) == run_at(tmp_path)


def test_exports_in_folders_of_epochs(tmp_path: Path) -> None:
    for step in (9, 10):
        saved_model(tmp_path / "plain" / f"epoch_{step}")
        saved_model(tmp_path / "deep" / f"epoch_{step}" / "saved_model")
        saved_model(tmp_path / "export" / str(1_700_000_000 + step))
    assert labels(run_at(tmp_path / "plain")) == ["epoch_9", "epoch_10"]
    assert labels(run_at(tmp_path / "deep")) == ["epoch_9/saved_model", "epoch_10/saved_model"]
    assert steps(run_at(tmp_path / "deep")) == [9, 10]
    assert steps(run_at(tmp_path / "export")) == [1_700_000_009, 1_700_000_010]
    assert run_or_none(tmp_path / "plain" / "epoch_9") is None


def test_two_networks_of_one_training_are_two_runs(tmp_path: Path) -> None:
    for step in (1, 2):
        (tmp_path / f"epoch_{step}").mkdir()
        for name in ("generator.keras", "discriminator.keras"):
            write(tmp_path / f"epoch_{step}" / name)
    with pytest.raises(UsageError):
        run_at(tmp_path)
    run = run_at(tmp_path / "epoch_*" / "generator.keras")
    assert labels(RunFolder(str(tmp_path), "", run.saves)) == ["epoch_1/generator.keras", "epoch_2/generator.keras"]
    assert steps(run) == [1, 2]


@pytest.mark.parametrize(
    "names",
    [
        ["fold_1/model.h5", "fold_2/model.h5"],
        ["folds/1/model.h5", "folds/2/model.h5"],
        ["seed1/model.h5", "seed2/model.h5"],
        ["resnet50/model.h5", "resnet101/model.h5"],
        ["v1/model.h5", "v2/model.h5"],
        ["epoch_1/a.h5", "epoch_2/b.h5"],
        ["epoch_1/model.h5", "notes_2/model.h5"],
        ["cifar10/model.h5", "cifar100/model.h5"],
    ],
)
def test_other_numbers_are_no_steps(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name)
    assert not Walk(tmp_path).runs


def test_runs_in_numbered_folders_stay_runs(tmp_path: Path) -> None:
    for step in (1, 2):
        for name in ("ckpt-1", "ckpt-2"):
            checkpoint(tmp_path / f"step_{step}" / name)
    assert set(Walk(tmp_path).runs) == {str(tmp_path / "step_1"), str(tmp_path / "step_2")}


def test_what_is_wrong_with_a_step_is_told_with_the_run(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint(tmp_path / f"step_{step}" / "ckpt")
    state(tmp_path / "step_2", "other")
    (run,) = Walk(tmp_path).runs.values()
    assert [finding.code for finding in run.findings] == ["state-dangling"]


# ---------------------------------------------------------------------- paths


@pytest.fixture
def two_runs(tmp_path: Path) -> Path:
    for name in ("a-1", "a-2", "b-1", "b-2", "b-3"):
        checkpoint(tmp_path / "both" / name)
    return tmp_path


def test_a_folder_of_several_runs_names_them(two_runs: Path) -> None:
    for ask in (run_at, run_or_none):
        for path in (two_runs / "both", two_runs, f"{two_runs}/both/"):
            with pytest.raises(UsageError) as error:
                ask(path)
            assert str(two_runs / "both" / "a-*") in error.value.hint
            assert str(two_runs / "both" / "b-*") in error.value.hint


def test_a_runs_own_path_and_a_save_of_it(two_runs: Path) -> None:
    wanted = two_runs / "both" / "b-*"
    assert len(run_at(wanted).saves) == 3
    assert run_or_none(wanted) == run_at(wanted)
    assert run_at(two_runs / "both" / "b-2") == run_at(wanted)
    assert run_at(two_runs / "both" / "b-2.index") == run_at(wanted)
    assert run_or_none(two_runs / "both" / "b-2") is None
    assert run_or_none(two_runs / "both" / "b-2.index") is None


def test_the_current_folder(two_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(two_runs / "both")
    assert run_at("a-*").saves == ("a-1", "a-2")
    assert [found.path for found in saves_of(run_at("a-*"))] == ["a-1", "a-2"]
    monkeypatch.chdir(two_runs)
    assert len(run_at("both/a-*").saves) == 2


def test_a_folder_with_a_state_file_means_its_run(tmp_path: Path) -> None:
    for name in ("ckpt-1", "ckpt-2", "other-1", "other-2"):
        checkpoint(tmp_path / name)
    path = state(tmp_path, "ckpt-2", ["ckpt-1", "ckpt-2"])
    assert labels(run_at(tmp_path)) == ["ckpt-1", "ckpt-2"]
    assert run_at(path) == run_at(tmp_path)
    assert run_or_none(path) is None, "a state file means the save it names"


def test_one_save_is_none(tmp_path: Path) -> None:
    checkpoint(tmp_path / "one" / "ckpt-1")
    state(tmp_path / "one", "ckpt-1")
    saved_model(tmp_path / "export" / "1700000000")
    assert run_or_none(tmp_path / "one") is None
    assert len(run_at(tmp_path / "one").saves) == 1
    assert run_or_none(tmp_path / "export") is None
    assert run_or_none(tmp_path / "export" / "1700000000") is None
    assert run_or_none(tmp_path / "export" / "1700000000" / "variables") is None
    for nothing in (tmp_path / "gone", tmp_path / "gone" / "x-*", Path("/dev/null"), tmp_path / "export" / "x*y"):
        assert run_or_none(nothing) is None
        with pytest.raises((NoSuchPath, NotASave)):
            run_at(nothing)


def test_a_folder_that_is_one_save_means_the_run_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stamp in (1700000000, 1700000100):
        saved_model(tmp_path / "export" / str(stamp))
    for step in (1000, 2000):
        checkpoint(tmp_path / "run" / f"step_{step}" / "ckpt")
    exports = run_at(tmp_path / "export")
    assert len(exports.saves) == 2
    assert run_at(tmp_path / "export" / "1700000100") == exports
    assert run_at(f"{tmp_path}/export/1700000000/") == exports
    numbered = run_at(tmp_path / "run")
    assert steps(numbered) == [1000, 2000]
    for inside in ("step_1000", "step_1000/ckpt", "step_2000/ckpt.index"):
        assert run_at(tmp_path / "run" / inside) == numbered
    monkeypatch.chdir(tmp_path / "export" / "1700000000")
    assert run_at(".").saves == exports.saves
    (tmp_path / "lone").mkdir()
    write(tmp_path / "lone" / "final.keras")
    with pytest.raises(NotASave) as refused:
        run_at(tmp_path / "lone" / "final.keras")
    assert refused.value.title == "No run"


def test_saves_that_are_gone_are_left_out(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write(tmp_path / f"cp-{step}.keras")
    run = run_at(tmp_path)
    (tmp_path / "cp-2.keras").unlink()
    assert [found.label for found in saves_of(run)] == ["cp-1.keras", "cp-3.keras"]


@needs_samples
@needs_estimator
def test_real_runs() -> None:
    assert steps(run_at(ESTIMATOR)) == [10, 20, 30]
    assert steps(run_at(SAMPLES / "estimator")) == [100, 200, 300]
    assert steps(run_at(SAMPLES / "digits")) == [1, 2, 3, 4, 5]
    assert run_or_none(SAMPLES / "digits_saved_model") is None


@needs_corpus
def test_a_real_run_of_epochs_and_no_run_where_there_is_none() -> None:
    assert steps(run_at(CORPUS / "fer2013-sequence")) == [
        0, 3, 5, 10, 12, 15, 27, 32, 38, 43, 51, 70, 99, 102, 107, 110,
    ]  # fmt: skip
    several = {}
    for folder in sorted(path for path in CORPUS.iterdir() if path.is_dir()):
        for run in Walk(folder).runs.values():
            if len(run.saves) > 1:
                several[os.path.relpath(run.path, CORPUS)] = len(run.saves)
    print(f"{len(several)} runs of several saves in the corpus")
    # files called by a year and a number are told apart from epochs by nobody
    assert several == {
        "fer2013-sequence": 16,
        "hdf5-cve/cve-2024-*": 4,
        "hdf5-cve/cve-2024-32607-*": 2,
        "serving/saved_model_half_plus_two_2_versions": 2,
    }
