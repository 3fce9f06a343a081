"""The configuration: a file or a mapping, read strictly, with every problem in one error."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

import attrs

from keyhinge._errors import ConfigError, Problem
from keyhinge._names import closest, shown
from keyhinge.config._block import SectionBlock
from keyhinge.config._interpolation import interpolate
from keyhinge.config._nodes import Node, ScalarNode, problems_of
from keyhinge.config._sections import ROOT, KeyManagement, Options, read_key_management
from keyhinge.config._source import Source, read_source
from keyhinge.config._structure import Structured, structure
from keyhinge.config._views import SettingView, views_of

__all__ = ["Configuration", "load_configuration", "read_configuration"]

T = TypeVar("T")


@attrs.frozen(kw_only=True, eq=False)
class Configuration:
    """What a configuration says. Nothing in it was made by a provider yet.

    Attributes:
        path: The file; None if the configuration is a mapping.
        base_dir: The folder that relative paths start at.
        source: What messages call the configuration; "" for a mapping.
        primary: The section that encrypts; "" if there are errors that leave it open.
        implicit_plaintext: Whether `keyManagement` is empty, which means `plaintext`.
        sections: The sections by name, in the file's order.
        options: The options, with `KEYHINGE_REQUIRE_ENCRYPTION` taken into account.
        observers: Import paths, as in `package.module:name`.
        problems: What is wrong with the file as a whole, warnings too.
    """

    path: Path | None
    base_dir: Path
    source: str
    primary: str
    implicit_plaintext: bool
    sections: Mapping[str, SectionBlock]
    options: Options
    observers: tuple[str, ...]
    problems: tuple[Problem, ...]
    _keys: KeyManagement | None = attrs.field(repr=False)
    _blocks: Mapping[str, Node] = attrs.field(repr=False)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that aren't just warnings."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that are just warnings."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def check_section(self, name: str, cls: type | None = None) -> tuple[Problem, ...]:
        """List what is wrong with a section.

        Args:
            name: The section.
            cls: Its provider's settings class; None where the provider isn't installed.

        Returns:
            Errors and warnings. Nothing is raised for them.

        Raises:
            KeyError: There is no such section.
            TypeError: The settings class itself is wrong.
        """
        section = self.sections[name]
        if cls is None:
            return (*section.problems, *problems_of(section.node))
        return (*section.problems, *self._structure(section.node, cls).problems)

    def structure_section(self, name: str, cls: type[T]) -> T:
        """Make a section's settings. Can be repeated; reads no file and connects to nothing.

        Args:
            name: The section.
            cls: Its provider's settings class.

        Returns:
            The settings.

        Raises:
            ConfigError: With everything that is wrong in the section.
            KeyError: There is no such section.
            TypeError: The settings class itself is wrong.
        """
        section = self.sections[name]
        made = self._structure(section.node, cls)
        return cast("T", self._value(made, section.problems))

    def check_block(self, name: str, cls: type) -> tuple[Problem, ...]:
        """List what is wrong with a top-level block, as `structure_block` would find it.

        Args:
            name: `store`.
            cls: The settings class.

        Returns:
            Errors and warnings; nothing if the block isn't there.
        """
        node = self._blocks.get(name)
        return () if node is None else self._structure(node, cls).problems

    def structure_block(self, name: str, cls: type[T]) -> T | None:
        """Make the settings of a top-level block that isn't `keyManagement`.

        Args:
            name: `store`.
            cls: The settings class.

        Returns:
            The settings; None if the block isn't there.

        Raises:
            ConfigError: With everything that is wrong in the block.
            TypeError: The settings class itself is wrong.
        """
        node = self._blocks.get(name)
        if node is None:
            return None
        return cast("T", self._value(self._structure(node, cls)))

    def describe(self, name: str, cls: type) -> list[SettingView]:
        """List a section's effective settings, secrets redacted, and where each came from.

        Args:
            name: The section.
            cls: Its provider's settings class.

        Returns:
            A view for each key, in the class's order. It doesn't matter whether they are valid.
        """
        return views_of(self.sections[name].node, cls, self._file_name)

    def describe_block(self, name: str, cls: type) -> list[SettingView]:
        """List a top-level block's effective settings, as `describe` does for a section."""
        node = self._blocks.get(name)
        return [] if node is None else views_of(node, cls, self._file_name)

    def describe_options(self) -> list[SettingView]:
        """List what `keyManagement` says itself: the primary section and the options."""
        if self._keys is None:
            return []
        origin = self._keys.primary_origin.format(file=self._file_name)
        views = [SettingView("provider", self.primary, origin)]
        options = {
            "requireEncryption": "true" if self.options.require_encryption else "false",
            "maxKeyAge": self.options.max_key_age or "",
        }
        for key, value in options.items():
            origin = self._keys.options_origins.get(key, "default").format(file=self._file_name)
            views.append(SettingView(f"options.{key}", value, origin))
        return views

    @property
    def _file_name(self) -> str:
        return self.path.name if self.path is not None else "mapping"

    def _structure(self, node: Node, cls: type) -> Structured:
        return structure(node, cls, base_dir=self.base_dir)

    def _value(self, made: Structured, earlier: tuple[Problem, ...] = ()) -> object:
        problems = (*earlier, *made.problems)
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors:
            raise ConfigError(errors, source=self.source)
        return made.value


def read_configuration(
    config: str | os.PathLike[str] | Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Configuration:
    """Read a configuration, keeping its problems instead of raising them.

    Args:
        config: A path, a mapping of the whole file, or None: then `KEYHINGE_CONFIG` names the
            file, and without it `config.yaml` in the current folder is meant.
        environ: The environment variables; None means the process's.

    Returns:
        The configuration. Look at `errors` before using it.

    Raises:
        ConfigError: There is no such file, or it can't be read or parsed at all.
        TypeError: `config` is something else.
    """
    environ = dict(os.environ if environ is None else environ)
    failure = None
    try:
        source = read_source(config, environ)
    except ConfigError as error:
        failure = error
    if failure is not None:
        # Without the frames that hold the file's text; and this one's variables are secrets, too.
        del environ
        raise failure.with_traceback(None)
    return _understand(source, environ)


def load_configuration(
    config: str | os.PathLike[str] | Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Configuration:
    """Read a configuration that must be right as a whole.

    Problems inside a section stay with it until `structure_section` needs it, except for those
    that reading found in the primary section.

    Args:
        config: See `read_configuration`.
        environ: The environment variables; None means the process's.

    Returns:
        The configuration.

    Raises:
        ConfigError: With everything that is wrong with the file as a whole.
        TypeError: `config` is neither a path nor a mapping.
    """
    configuration = read_configuration(config, environ)
    errors = list(configuration.errors)
    if errors:
        primary = configuration.sections.get(configuration.primary)
        if primary is not None:
            errors.extend(configuration.check_section(primary.name))
        errors = [problem for problem in errors if problem.severity == "error"]
        errors.sort(key=lambda problem: problem.line or 0)
        raise ConfigError(errors, source=configuration.source)
    return configuration


def _understand(source: Source, environ: Mapping[str, str]) -> Configuration:
    parsed = source.parsed
    blocks = {name: interpolate(node, environ) for name, node in parsed.blocks.items()}
    problems = list(parsed.problems)
    node = blocks.pop(ROOT, None)
    keys = None
    if node is None:
        problems.append(_no_key_management(parsed.other_keys))
    else:
        keys = read_key_management(node, environ, source.base_dir)
        problems.extend(keys.problems)
        if keys.implicit_plaintext and isinstance(node, ScalarNode):
            problems.extend(_slipped_out(parsed.other_keys))
    return Configuration(
        path=source.path,
        base_dir=source.base_dir,
        source=source.name,
        primary=keys.primary if keys is not None else "",
        implicit_plaintext=keys is not None and keys.implicit_plaintext,
        sections=keys.sections if keys is not None else {},
        options=keys.options if keys is not None else Options(),
        observers=keys.observers if keys is not None else (),
        problems=tuple(problems),
        keys=keys,
        blocks=blocks,
    )


def _no_key_management(other_keys: tuple[str, ...]) -> Problem:
    near = next((key for key in other_keys if closest(key, [ROOT]) is not None), None)
    if near is not None:
        name = shown(near)
        which = f"the key '{name}'" if name == near else "a key"
        return Problem(ROOT, f"this key is missing, but there is {which}. Did you mean '{ROOT}'?")
    return Problem(
        ROOT,
        "this key is missing. Without it nothing says how secrets are encrypted; "
        "`keyhinge init` writes a file that has it",
    )


def _slipped_out(other_keys: tuple[str, ...]) -> list[Problem]:
    """Find out that an empty `keyManagement` is a slip: its lines lost their indentation."""
    if "provider" not in {key.lower() for key in other_keys}:
        return []
    message = (
        "has nothing in it, but 'provider' stands beside it. Indent what belongs to it; if "
        "plaintext is really meant, write 'provider: plaintext' into it"
    )
    return [Problem(ROOT, message)]
