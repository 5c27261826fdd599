"""The settings file: defaults without one, a plain error for a bad one, never a wait."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptui.config import Settings, cache_folder, config_path, load_settings
from ckptui.errors import UsageError


def settings(folder: Path, text: str | bytes) -> Settings:
    path = folder / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(path)


def test_without_a_file_everything_has_its_default(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none.toml") == Settings()
    assert load_settings(tmp_path / "none" / "none.toml") == Settings()
    assert load_settings(Path(os.devnull)) == Settings()


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.toml")
    assert load_settings(tmp_path / "config.toml") == Settings()


def test_the_file_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTUI_CONFIG", str(tmp_path / "mine.toml"))
    assert config_path() == tmp_path / "mine.toml"


def test_results_are_kept_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTUI_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("CKPTUI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches" / "ckptui"
    found = settings(tmp_path, "cache = false\ncache_bytes = 1e6\n")
    assert found == Settings(cache=False, cache_bytes=1_000_000)


def test_values_are_taken(tmp_path: Path) -> None:
    found = settings(tmp_path, "ascii = true\nprocesses = 2\nauto_scan_bytes = 1e9\n")
    assert found == Settings(ascii=True, processes=2, auto_scan_bytes=1_000_000_000)
    assert type(found.auto_scan_bytes) is int


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("x = ", "Invalid value"),
        ("nope = 1", "nope"),
        ("ascii = 1", "ascii"),
        ("processes = true", "processes"),
        ("processes = -1", "processes"),
        ("processes = inf", "processes"),
        ("processes = nan", "processes"),
        ('auto_scan_bytes = "2 GB"', "auto_scan_bytes"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_what_it_can_not_be_is_a_plain_error_that_names_it(text: str | bytes, word: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=word):
        settings(tmp_path, text)


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        load_settings(tmp_path)
