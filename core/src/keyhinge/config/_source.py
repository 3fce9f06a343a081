"""Finding and reading the configuration file."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from keyhinge._errors import ConfigError
from keyhinge.config._mapping import parse_mapping
from keyhinge.config._top import ParsedFile
from keyhinge.config._yaml import MAX_BYTES, parse_yaml

__all__ = ["Source", "read_source"]

_VARIABLE = "KEYHINGE_CONFIG"
_DEFAULT = "config.yaml"
_INIT_HINT = "`keyhinge init` writes a first one"

_REASONS = {
    errno.EACCES: "can't be read: permission denied",
    errno.EPERM: "can't be read: permission denied",
    errno.EISDIR: "is a folder, not a file",
    errno.ELOOP: "can't be read: too many symbolic links",
    errno.ENAMETOOLONG: "can't be read: the name is too long",
}


@attrs.frozen
class Source:
    """A configuration that was read, but not yet understood.

    Attributes:
        path: The file; None for a mapping.
        base_dir: The folder that relative paths start at: the file's, or the current one.
        name: What messages call it; "" for a mapping.
        parsed: What it has for us.
    """

    path: Path | None
    base_dir: Path
    name: str
    parsed: ParsedFile


def read_source(config: object, environ: Mapping[str, str]) -> Source:
    """Read a configuration.

    Args:
        config: A path, a mapping of the whole file, or None: then `KEYHINGE_CONFIG` names the
            file, and without it `config.yaml` in the current folder is meant.
        environ: The environment variables.

    Returns:
        What was read.

    Raises:
        ConfigError: There is no such file, or it can't be read or parsed.
        TypeError: `config` is something else.
    """
    if isinstance(config, Mapping):
        return Source(None, Path.cwd(), "", parse_mapping(config))
    if config is None:
        config, origin = _default_path(environ)
    else:
        origin = ""
    if not isinstance(config, str | os.PathLike):
        msg = f"config is a path or a mapping of the whole file, not {type(config).__name__}"
        raise TypeError(msg)
    path = Path(config)
    data = _read(path, origin)
    parsed = parse_yaml(data, source=str(path))
    # Not resolved: in Kubernetes the file is a link into a folder that goes away.
    return Source(path, path.absolute().parent, str(path), parsed)


def _default_path(environ: Mapping[str, str]) -> tuple[str, str]:
    named = environ.get(_VARIABLE)
    if named:
        return named, f"{_VARIABLE} names it"
    return _DEFAULT, f"looked for in {Path.cwd()}, since {_VARIABLE} isn't set"


def _read(path: Path, origin: str) -> bytes:
    where = f" ({origin})" if origin else ""
    message = ""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        message = f"the configuration file {path} doesn't exist{where}; {_INIT_HINT}"
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, "can't be read")
        message = f"the configuration file {path} {reason}{where}"
    except ValueError:
        message = f"the path of the configuration file isn't one{where}; {_INIT_HINT}"
    raise ConfigError(message)
