"""Opening every section of a configuration, side by side and apart from each other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import attrs

from keyhinge._asked import AskedBelow
from keyhinge._composing import ComposingClient, ConfiguringSection, reachable
from keyhinge._contract import PluginManager, check_provider
from keyhinge._discovery import LoadedProvider, Registry
from keyhinge._errors import (
    ConfigError,
    KeyhingeError,
    Problem,
    ProviderContractError,
    ProviderError,
    ProviderLoadError,
    SectionNotConfiguredError,
)
from keyhinge._hookspecs import REQUIRED_HOOKS
from keyhinge._names import suggest
from keyhinge._section import OpenSection
from keyhinge._settings import SettingsClassError

if TYPE_CHECKING:
    from keyhinge.config._configuration import Configuration

__all__ = ["Blueprint", "Plan", "Sections", "make_plan", "open_sections"]

log = logging.getLogger("keyhinge")


@attrs.frozen
class Blueprint:
    """All that it takes to configure one section, again if need be (after a fork)."""

    name: str
    loaded: LoadedProvider
    settings: Any = attrs.field(repr=False)


@attrs.frozen
class Plan:
    """A configuration with its providers loaded and its settings checked.

    Attributes:
        configuration: What the file says.
        blueprints: The sections that can be configured.
        broken: Why the others can't be, by name.
    """

    configuration: Configuration
    blueprints: tuple[Blueprint, ...]
    broken: Mapping[str, KeyhingeError]

    def warnings(self) -> list[Problem]:
        """List what works but is likely a mistake, in the sections that can be configured."""
        return [
            problem
            for blueprint in self.blueprints
            for problem in self.configuration.check_section(
                blueprint.name, blueprint.loaded.settings
            )
            if problem.severity == "warning"
        ]


class Sections:
    """The opened sections of one configuration."""

    __slots__ = (
        "asked",
        "broken",
        "builds_on",
        "by_label",
        "closing_order",
        "labels",
        "names",
        "primary",
        "primary_name",
    )

    def __init__(
        self,
        plan: Plan,
        opened: Mapping[str, OpenSection],
        broken: Mapping[str, KeyhingeError],
        builds_on: Mapping[str, tuple[str, ...]],
        asked: Sequence[AskedBelow],
    ) -> None:
        self.names: tuple[str, ...] = tuple(plan.configuration.sections)
        self.primary_name: str = plan.configuration.primary
        self.primary: OpenSection = opened[self.primary_name]
        self.broken = dict(broken)
        # Of each section that could be configured, also of one that can't be used.
        self.builds_on = dict(builds_on)
        self.asked = tuple(asked)
        # Each one comes before those that it builds on.
        self.closing_order: tuple[OpenSection, ...] = tuple(opened.values())
        self.labels = labels_of(plan.configuration)
        self.by_label: dict[str, OpenSection] = {
            label: opened[name] for label, name in self.labels.items() if name in opened
        }

    def named(self, name: str) -> OpenSection:
        """Find a section by its own name, for a caller who asks for it.

        Raises:
            ConfigError: There is none, or it can't be used.
            ProviderError: Its provider can't be used.
        """
        if name in self.names:
            return self.by_label.get(name) or self._unusable(name)
        known = ", ".join(self.names)
        raise ConfigError(
            f"there is no section {name!r}; there are: {known}.{suggest(name, self.names)}"
        )

    def below(self, name: str) -> tuple[str, ...]:
        """Name the sections that one builds on, directly; also of one that can't be used itself.

        Raises:
            ConfigError: There is no such section, or it can't be configured.
            ProviderError: Its provider can't be used.
        """
        if name not in self.builds_on:
            self.named(name)
        return self.builds_on[name]

    def of_value(self, label: str) -> OpenSection:
        """Find the section that a value names.

        Raises:
            SectionNotConfiguredError: The configuration doesn't have it, or it can't be used.
        """
        found = self.by_label.get(label)
        if found is not None:
            return found
        name = self.labels.get(label)
        if name is None:
            msg = (
                f"the value was made by a section {label!r} that the configuration doesn't have. "
                f"Put it back, or list it under `aliases` of the section that it was renamed to"
            )
        else:
            msg = f"the section that made the value can't be used: {self.broken[name]}"
        raise SectionNotConfiguredError(msg, section=label)

    def _unusable(self, name: str) -> OpenSection:
        # Another exception each time: one that is raised again and again collects tracebacks.
        raise copy(self.broken[name])


def labels_of(configuration: Configuration) -> dict[str, str]:
    """Map every name that a value may carry, sections and their aliases, to the section's name."""
    labels = {name: name for name in configuration.sections}
    for block in configuration.sections.values():
        labels.update(dict.fromkeys(block.aliases, block.name))
    return labels


def make_plan(configuration: Configuration, registry: Registry) -> Plan:
    """Load the providers that sections name, and check their settings; raises nothing."""
    blueprints: list[Blueprint] = []
    broken: dict[str, KeyhingeError] = {}
    for name, block in configuration.sections.items():
        owner = ""
        try:
            loaded = registry.load(block.type)
            owner = f" of {loaded.distribution}"
            settings: Any = configuration.structure_section(name, loaded.settings)
        except (ConfigError, ProviderError) as failure:
            broken[name] = failure.with_traceback(None)
        except Exception as failure:  # noqa: BLE001 - a stranger's module or settings class
            # Only our own message is known to hold no value.
            own = isinstance(failure, SettingsClassError)
            reason = str(failure) if own else type(failure).__name__
            broken[name] = ProviderLoadError(
                f"the settings class of provider {block.type!r}{owner} doesn't keep to the hook "
                f"API ({reason}). This is a bug in that package; please report it there"
            )
        else:
            blueprints.append(Blueprint(name, loaded, settings))
    return Plan(configuration, tuple(blueprints), broken)


def open_sections(plan: Plan, environ: Mapping[str, str]) -> Sections:
    """Configure every section; connects nowhere.

    Args:
        plan: The sections to configure.
        environ: The environment variables that they may read.

    Raises:
        KeyhingeError: The primary can't be used. What is wrong with another section is logged,
            and raised when something needs it.
    """
    known = tuple(plan.configuration.sections)
    opened: dict[str, OpenSection] = {}
    broken: dict[str, KeyhingeError] = dict(plan.broken)
    surroundings: dict[str, ConfiguringSection] = {}
    for blueprint in plan.blueprints:
        section = ConfiguringSection(blueprint.name, plan.configuration.base_dir, environ, known)
        try:
            opened[blueprint.name] = _configure(blueprint, section)
        except KeyhingeError as failure:
            broken[blueprint.name] = failure.with_traceback(None)
        else:
            surroundings[blueprint.name] = section
    opened = _bind(surroundings, opened, broken, labels_of(plan.configuration))
    primary = plan.configuration.primary
    if primary in broken:
        raise broken[primary]
    for name, error in broken.items():
        log.warning(
            "section %s can't be used: %s",
            name,
            error,
            extra={"event": "keyhinge.section_broken", "section": name},
        )
    builds_on = {
        name: tuple(dict.fromkeys(each for client in section.clients for each in client.names))
        for name, section in surroundings.items()
    }
    asked = [client.asked for section in surroundings.values() for client in section.clients]
    return Sections(plan, opened, broken, builds_on, asked)


def _configure(blueprint: Blueprint, section: ConfiguringSection) -> OpenSection:
    loaded = blueprint.loaded
    problem: str | None = None
    own: ConfigError | None = None
    try:
        # A plugin manager of its own, so that "first result" can't be another section's.
        manager = PluginManager()
        manager.register(loaded.module, loaded.name)
        provider = manager.hook.keyhinge_configure(settings=blueprint.settings, section=section)
        problem = check_provider(provider)
        if problem is None:
            # Only for pluggy's own checks: its manager refers to itself, and would keep the
            # provider, and what that builds on, from being closed when its last user is gone.
            manager.unregister(manager.get_plugin(manager.register(provider) or ""))
            return OpenSection(blueprint.name, loaded.distribution, provider)
    except ConfigError as failure:
        own = failure
    except Exception as failure:  # noqa: BLE001 - a stranger's code
        problem = _lacking(failure) or f"configuring it raised {type(failure).__name__}"
    finally:
        section.finish()
    if own is not None:
        own.__cause__ = own.__context__ = None
        raise own.with_traceback(None)
    msg = (
        f"the provider of {loaded.distribution} broke its contract: {problem}. "
        "This is a bug in that package; please report it there"
    )
    raise ProviderContractError(msg, section=blueprint.name, operation="configure")


def _lacking(failure: Exception) -> str | None:
    """Name the required hooks that a class lacks, so that Python doesn't make an instance of it.

    They are looked for in Python's message. Nothing else of a stranger's text is shown.
    """
    if isinstance(failure, TypeError) and "abstract" in str(failure):
        lacking = [name for name in REQUIRED_HOOKS if name in str(failure)]
        return f"it doesn't implement {', '.join(lacking)}" if lacking else None
    return None


def _bind(
    surroundings: Mapping[str, ConfiguringSection],
    opened: Mapping[str, OpenSection],
    broken: dict[str, KeyhingeError],
    labels: Mapping[str, str],
) -> dict[str, OpenSection]:
    """Give composing sections the sections that they build on; note those that can't have them.

    Returns:
        The sections that can be used, each before those that it builds on.
    """
    edges = {
        name: {target for client in section.clients for target in client.names}
        for name, section in surroundings.items()
    }
    below = {name: reachable(edges, name) for name in edges}
    for name in [name for name in opened if name in below[name]]:
        problem = Problem(f"keyManagement.{name}", "builds on itself, directly or through others")
        broken[name] = ConfigError(problem)
    # The innermost first, so that what is broken there is known further out.
    for name in sorted(opened, key=lambda name: len(below[name])):
        base = next((c.name for c in surroundings[name].clients if c.name in broken), None)
        message = None
        if base is not None:
            message = f"builds on the section {base!r}, which can't be used: {broken[base]}"
        else:
            message = _unfit(surroundings[name].clients, opened, below)
        if message is not None and name not in broken:
            broken[name] = ConfigError(Problem(f"keyManagement.{name}", message))
    usable = [name for name in opened if name not in broken]
    for name in usable:
        for client in surroundings[name].clients:
            client.bind({**opened, **broken}, labels)
    return {name: opened[name] for name in sorted(usable, key=lambda name: -len(below[name]))}


def _unfit(
    clients: Sequence[ComposingClient],
    opened: Mapping[str, OpenSection],
    below: Mapping[str, set[str]],
) -> str | None:
    """Say which section can't wrap keys, and why; None where none is asked to that can't."""
    for target in (name for client in clients if client.wraps_keys for name in client.names):
        if target not in opened:
            continue
        capabilities = opened[target].capabilities
        for holds, problem in (
            (capabilities.encrypts, "doesn't encrypt"),
            (capabilities.binds_context, "doesn't authenticate the context"),
            (not below[target], "builds on another section itself"),
        ):
            if not holds:
                return f"can't keep its keys with the section {target!r}, which {problem}"
    return None
