"""Settings: a small TOML file in the user's config folder, and where the user's folders are.

`~/.config/ckptui/config.toml` may hold:

    ascii = true            # plain signs instead of symbols
    processes = 2           # reader children at most
    auto_scan_bytes = 2e9   # the selected save is scanned by itself below this size
"""

from __future__ import annotations

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
    idle_timeout: float = 4.0
    """Seconds without progress after which a reader child is killed."""


def config_path() -> Path:
    """Where the settings file is looked for."""
    import platformdirs

    named = os.environ.get("CKPTUI_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("ckptui")) / "config.toml"


def state_folder() -> Path:
    """Where recent images and models are remembered."""
    import platformdirs

    return Path(platformdirs.user_state_dir("ckptui"))


def load_settings(path: Path | None = None) -> Settings:
    """Read the settings file; the defaults where there is none.

    Raises:
        UsageError: the file is no TOML, or a key or value is not known; the message names file and key.
    """
    path = path or config_path()
    try:
        text = path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return Settings()
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
        if kind is bool and isinstance(value, bool):
            settings = replace(settings, **{key: value})
        elif kind in (int, float) and number and value >= 0:
            settings = replace(settings, **{key: kind(value)})
        else:
            raise UsageError(f"{path}: {key} = {value!r} is not a {kind.__name__}", "Mend the settings file")
    return settings
