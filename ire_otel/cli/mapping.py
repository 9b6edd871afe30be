"""The file that says how traces of others become runs, for `ire-otel import` and `ire-otel serve`."""

import tomllib
from pathlib import Path

import msgspec

from ire_otel import foreign_runs
from ire_otel.errors import ConfigurationError
from ire_otel.foreign_runs import RunMapping


def read_mapping(path: Path | None) -> RunMapping:
    """Read a mapping; the default one without a file. Raises ConfigurationError."""
    if path is None:
        return foreign_runs.DEFAULT
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), RunMapping)
    except OSError as error:
        raise ConfigurationError(f"mapping {path} cannot be read: {error.strerror}; name a TOML file") from error
    except (msgspec.ValidationError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        keys = ", ".join(RunMapping.__struct_fields__)
        raise ConfigurationError(f"{path} is no mapping: {error}; it may say {keys}") from error
