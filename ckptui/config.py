"""Settings: a small TOML file in the user's config folder, and where the user's folders are.

`~/.config/ckptui/config.toml` may hold:

    ascii = true            # plain signs instead of symbols
    processes = 2           # reader children at most
    auto_scan_bytes = 2e9   # the selected save is scanned by itself below this size
    cache = false           # keep no results between runs
    cache_bytes = 256e6     # what the kept results may take on the disk
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ckptui.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may set; every field has a working default."""

    ascii: bool = False
    """Plain signs instead of symbols, for terminals without UTF-8."""
    processes: int = 0
    """Reader children at most; 0 means one per core, four at most."""
    auto_scan_bytes: int = 2_000_000_000
    """The selected save is scanned without being asked only below this size."""
    cache: bool = True
    """Results of a scan are kept for the next time the same files are looked at."""
    cache_bytes: int = 256_000_000
    """Bytes that all kept results take on the disk at most; the least recently used go first."""


def config_path() -> Path:
    """Where the settings file is looked for."""
    import platformdirs

    named = os.environ.get("CKPTUI_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("ckptui")) / "config.toml"


def state_folder() -> Path:
    """Where recent images and models are remembered."""
    import platformdirs

    return Path(platformdirs.user_state_dir("ckptui"))


def cache_folder() -> Path:
    """Where results of scans are kept: `CKPTUI_CACHE`, or ckptui's folder among the user's caches."""
    import platformdirs

    named = os.environ.get("CKPTUI_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("ckptui"))


def load_settings(path: Path | None = None) -> Settings:
    """Read the settings file; the defaults where there is none.

    Raises:
        UsageError: the file is no TOML, or a key or value is not known; the message names file and key.
    """
    path = path or config_path()
    # asked before it is opened: a FIFO would keep every command waiting for a writer
    if not path.is_file() and not path.is_dir():
        return Settings()
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, PermissionError):
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise UsageError(f"{path}: {reason}", "Mend or remove this settings file") from error
    return _apply(Settings(), _parse(text, path), path)


def _parse(text: str, path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}", "Mend or remove this settings file") from error
    return values


def _apply(settings: Settings, values: dict[str, Any], path: Path) -> Settings:
    known = {f.name: type(getattr(settings, f.name)) for f in fields(settings)}
    for key, value in values.items():
        kind = known.get(key)
        if kind is None:
            raise UsageError(f"{path}: unknown setting {key!r}", f"Known: {', '.join(sorted(known))}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        change: dict[str, Any] = {key: value}
        if kind is bool and isinstance(value, bool):
            settings = replace(settings, **change)
        elif kind is int and number and 0 <= value < math.inf:
            settings = replace(settings, **{**change, key: int(value)})
        else:
            wanted = "true or false" if kind is bool else "a number from 0"
            raise UsageError(f"{path}: {key} = {value!r} is not {wanted}", "Mend the settings file")
    return settings
