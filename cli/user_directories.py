"""Where this user keeps configuration, data and caches: the XDG base directories (specifications.freedesktop.org)."""

import os
from pathlib import Path
from typing import Final

APPLICATION: Final = "tenon"


def config_directory() -> Path | None:
    """Answer `$XDG_CONFIG_HOME/tenon`, or ~/.config/tenon; None for a user without a home directory."""
    return _directory("XDG_CONFIG_HOME", ".config")


def data_directory() -> Path | None:
    """Answer `$XDG_DATA_HOME/tenon`, or ~/.local/share/tenon; None for a user without a home directory."""
    return _directory("XDG_DATA_HOME", ".local/share")


def cache_directory() -> Path | None:
    """Answer `$XDG_CACHE_HOME/tenon`, or ~/.cache/tenon; None for a user without a home directory."""
    return _directory("XDG_CACHE_HOME", ".cache")


def _directory(variable: str, below_home: str) -> Path | None:
    # A relative path counts as none, as the specification says.
    configured = Path(os.environ.get(variable, ""))
    if configured.is_absolute():
        return configured / APPLICATION
    try:
        return Path.home() / below_home / APPLICATION
    except RuntimeError:
        return None
