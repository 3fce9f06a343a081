"""The package that `keyhinge dev new-provider` writes."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from string import Template

from keyhinge_cli._exit import FAILED, USAGE, CliError

__all__ = ["check_name", "write_package"]

# Template, and where it goes. The templates have a suffix of their own, so that no tool takes them
# for what they become.
_FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "provider.py.in": "src/{module}/__init__.py",
    "test_conformance.py.in": "tests/test_conformance.py",
    "README.md.in": "README.md",
    "noxfile.py.in": "noxfile.py",
    "workflow.yml.in": ".github/workflows/test.yml",
    "gitignore.in": ".gitignore",
}

# The names of our providers and packages, and of those that we have announced.
_OURS = frozenset(
    {
        "aws",
        "cli",
        "core",
        "envelope",
        "local",
        "openbao",
        "plaintext",
        "store",
        "testing",
        "vault",
    }
)


def check_name(name: str) -> None:
    """Refuse what can't be the name of a stranger's provider.

    Args:
        name: The name, as an operator would write it into the configuration.

    Raises:
        CliError: It can't; the message says why and what would do.
    """
    from keyhinge._names import RESERVED_NAMES, is_section_name

    why = ""
    if name.startswith("keyhinge-") and is_section_name(name):
        short = name.removeprefix("keyhinge-")
        why = f"leave `keyhinge-` out: it is put in front of the package's name. Say {short!r}"
    elif not is_section_name(name) or name.endswith("-") or "--" in name:
        # Python's packages are called alike with one hyphen, two, or a dot.
        why = (
            "a provider's name has lower-case letters, digits and single hyphens, at most 32, "
            "begins with a letter and doesn't end with a hyphen, as in 'acme-kms'"
        )
    elif name in RESERVED_NAMES:
        why = f"no section can be called {name!r}: that is a key of the configuration's own"
    elif name in _OURS:
        why = f"keyhinge-{name} is, or may become, one of Keyhinge's own packages: take another"
    if why:
        raise CliError(why, USAGE)


def write_package(name: str, parent: Path, version: str) -> list[Path]:
    """Write a complete package into the folder `keyhinge-NAME`.

    Args:
        name: A name that `check_name` has let pass.
        parent: The folder to make the package's folder in.
        version: The version of core that it is written for, as in "0.1.0".

    Returns:
        The folder, and each file in it.

    Raises:
        CliError: The folder is there already, or can't be made.
    """
    folder = parent / f"keyhinge-{name}"
    words = {
        "name": name,
        "module": f"keyhinge_{name.replace('-', '_')}",
        "title": "".join(part.capitalize() for part in name.split("-")),
        "variable": name.replace("-", "_").upper(),
        "range": _range(version),
    }
    try:
        folder.mkdir()
    except FileExistsError:
        message = f"{folder} is there already, and nothing is overwritten"
        raise CliError(message, USAGE) from None
    except FileNotFoundError:
        raise CliError(f"the folder {parent} doesn't exist; make it first", USAGE) from None
    except OSError as error:
        raise CliError(f"{folder} can't be made: {error.strerror}", FAILED) from None
    written = [folder]
    templates = files("keyhinge_cli") / "templates"
    for source, target in _FILES.items():
        text = Template((templates / source).read_text(encoding="utf-8")).substitute(words)
        written.append(_write(folder / target.format(**words), text))
    written.append(_write(folder / "src" / words["module"] / "py.typed", ""))
    return written


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
    return file


def _range(version: str) -> str:
    """Give the range of core's versions that a provider takes: from this one to the next major."""
    major, minor, *_ = version.split(".")
    return f">={major}.{minor},<{int(major) + 1}"
