"""From a configuration to opened sections, with the rules that stand above any one section."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from keyhinge._discovery import Registry
from keyhinge._errors import ConfigError, Problem, ProviderError
from keyhinge._sections import Plan, Sections, make_plan, open_sections

if TYPE_CHECKING:
    from keyhinge.config._configuration import Configuration

__all__ = ["Config", "Loader"]

log = logging.getLogger("keyhinge")

Config = str | PathLike[str] | Mapping[str, Any] | None


class Loader:
    """Reads one configuration, as often as it is asked to.

    Args:
        config: As for `KeyManager.open`.
        providers: Providers to use in place of installed ones.
        environ: The environment; the process's own if None.
        require_encryption: Whether the caller demands a primary that encrypts.
    """

    def __init__(
        self,
        config: Config,
        providers: Mapping[str, object] | None,
        environ: Mapping[str, str] | None,
        require_encryption: bool,
    ) -> None:
        self._config = config
        self._providers = providers
        self._environ = environ
        self._require_encryption = require_encryption

    def plan(self) -> Plan:
        """Read the configuration, load the providers that it names, check their settings.

        Raises:
            ConfigError: The configuration is wrong.
        """
        # Here, so that importing keyhinge doesn't wait for it.
        from keyhinge.config._configuration import read_configuration

        configuration = read_configuration(self._config, self._environ)
        registry = Registry(self._providers)
        if configuration.errors:
            raise _everything_wrong(configuration, registry)
        if configuration.path is not None:
            # The same file when it is read again, wherever the process has gone meanwhile.
            self._config = configuration.path.absolute()
        plan = make_plan(configuration, registry)
        for problem in (*configuration.warnings, *plan.warnings()):
            log.warning(
                "%s: %s", configuration.source, problem, extra={"event": "keyhinge.config_warning"}
            )
        return plan

    def open(self, plan: Plan) -> Sections:
        """Configure every section, and refuse a primary that must encrypt and doesn't.

        Raises:
            KeyhingeError: The primary section can't be used.
        """
        sections = open_sections(plan, os.environ if self._environ is None else self._environ)
        if not sections.primary.capabilities.encrypts:
            name = sections.primary_name
            if self._require_encryption or plan.configuration.options.require_encryption:
                msg = (
                    f"names the section {name!r}, which doesn't encrypt, but encryption is "
                    "required (options.requireEncryption, KEYHINGE_REQUIRE_ENCRYPTION or the "
                    "application)"
                )
                raise ConfigError(Problem("keyManagement.provider", msg))
            log.warning(
                "the primary section %s doesn't encrypt: secrets stand readable in the database",
                name,
                extra={"event": "keyhinge.not_encrypted", "section": name},
            )
        return sections


def _everything_wrong(configuration: Configuration, registry: Registry) -> ConfigError:
    """Put what is wrong with the file and with its primary section into one error."""
    problems = list(configuration.errors)
    primary = configuration.sections.get(configuration.primary)
    if primary is not None:
        try:
            settings: type | None = registry.load(primary.type).settings
        except ProviderError:
            settings = None  # raised by itself once the file is right
        problems += configuration.check_section(primary.name, settings)
    errors = dict.fromkeys(problem for problem in problems if problem.severity == "error")
    ordered = sorted(errors, key=lambda problem: problem.line or 0)
    return ConfigError(ordered, source=configuration.source)
