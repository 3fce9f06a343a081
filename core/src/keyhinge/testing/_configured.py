"""The kit against a section that an operator has configured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from keyhinge import (
    AccessDeniedError,
    ConfigError,
    KeyManager,
    KeyUnavailableError,
    OperationError,
)
from keyhinge._discovery import Registry
from keyhinge._health import round_trip
from keyhinge._loader import Config, Loader
from keyhinge._names import suggest
from keyhinge._sections import Plan, make_plan
from keyhinge.testing._base import ONE, STRANGER, TWIN
from keyhinge.testing._case import bounded
from keyhinge.testing._conformance import ProviderConformance
from keyhinge.testing._run import Result, run_conformance

if TYPE_CHECKING:
    from keyhinge.config._configuration import Configuration

__all__ = ["conformance_of"]

NO_STRANGER = "it needs a second section with a key of its own, and none was named"


def conformance_of(
    configuration: Configuration | Config,
    section: str,
    *,
    other: str | None = None,
    providers: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    timeout: float = 60,
) -> Iterator[Result]:
    """Run the conformance kit against a configured section.

    It encrypts and decrypts some two thousand small values under the section's real key, from many
    threads and from a forked child. It stores nothing and changes no key.

    First it makes one round trip, so that no provider is blamed for an outage.

    Args:
        configuration: A configuration as `keyhinge.config` reads it, or what `KeyManager.open`
            takes.
        section: The section's name.
        other: Another section of the same provider, with another key: the cases about strangers'
            values need one, and are skipped without it.
        providers: Providers to use in place of installed ones, as for `KeyManager.open`.
        environ: The environment; the process's own if None.
        timeout: How many seconds a case may take.

    Yields:
        A result for each case as soon as it is done.

    Raises:
        ConfigError: The configuration is wrong, or there is no such section.
        ProviderError: The section's provider can't be used.
        OperationError: At the first step: the key service doesn't answer (`retryable` is True), or
            refuses to encrypt with the configured key. No case was run.
    """
    # Not in the generator, so that these errors are raised here and not at its first step.
    wanted = _plan(configuration, providers, environ)
    plan = _renamed(wanted, section, other)
    loader = Loader(None, providers, environ, require_encryption=False)
    module = next(each.loaded.module for each in plan.blueprints if each.name == ONE)

    class Configured(ProviderConformance):
        """The section as it is configured."""

        provider = module
        no_stranger = NO_STRANGER

        def _open(self) -> KeyManager:
            return KeyManager(loader, plan)

    Configured.timeout = timeout
    tried = {ONE: section} if other is None else {ONE: section, STRANGER: other}
    return _run(Configured, tried)


def _run(cls: type[ProviderConformance], tried: Mapping[str, str]) -> Iterator[Result]:
    trouble = _trouble(cls(), tried)
    if trouble is not None:
        raise trouble
    yield from run_conformance(cls)


def _trouble(bench: ProviderConformance, tried: Mapping[str, str]) -> OperationError | None:
    """Say why the sections can't be used for now, where no provider is to blame for it."""
    found: OperationError | None = None
    # Whatever else goes wrong is told by a case.
    with contextlib.suppress(Exception), bench._opened() as keys:  # noqa: SLF001 - of the same kit
        for name, original in tried.items():
            try:
                bounded(partial(round_trip, bench._section(keys, name)), bench.timeout)  # noqa: SLF001
            except OperationError as failure:
                if failure.retryable or _is_refused(failure):
                    found = type(failure)(
                        bench._redacted(keys, Exception.__str__(failure)),  # noqa: SLF001
                        section=original,
                        operation=failure.operation,
                        retryable=failure.retryable,
                    )
                    break
    return found


def _is_refused(failure: OperationError) -> bool:
    # When decrypting, a provider that mixes its labels up gives these.
    kinds = (AccessDeniedError, KeyUnavailableError)
    return failure.operation == "encrypt" and isinstance(failure, kinds)


def _plan(
    configuration: Any, providers: Mapping[str, object] | None, environ: Mapping[str, str] | None
) -> Plan:
    from keyhinge.config._configuration import Configuration, read_configuration

    if not isinstance(configuration, Configuration):
        configuration = read_configuration(configuration, environ)
    if configuration.errors:
        raise ConfigError(configuration.errors, source=configuration.source)
    return make_plan(configuration, Registry(providers))


def _renamed(plan: Plan, section: str, other: str | None) -> Plan:
    """Make a plan with the section under the kit's names, beside all that it may build on."""
    blueprints = {each.name: each for each in plan.blueprints}
    named = {ONE: section, TWIN: section}
    if other is not None:
        named[STRANGER] = other
    for name in named.values():
        if name in plan.broken:
            raise plan.broken[name]
        if name not in blueprints:
            known = ", ".join(plan.configuration.sections)
            hint = suggest(name, plan.configuration.sections)
            msg = f"there is no section {name!r}; there are: {known}.{hint}"
            raise ConfigError(msg)
    if other is not None and blueprints[other].loaded.name != blueprints[section].loaded.name:
        msg = f"section {other!r} is of another provider than section {section!r}"
        raise ConfigError(msg)
    # The others stay: the section may build on them.
    kept = [each for name, each in blueprints.items() if name not in {ONE, TWIN, STRANGER}]
    blocks = dict(plan.configuration.sections)
    for name, original in named.items():
        kept.append(attrs.evolve(blueprints[original], name=name))
        blocks[name] = attrs.evolve(plan.configuration.sections[original], name=name, aliases=())
    configuration = attrs.evolve(
        plan.configuration,
        primary=ONE,
        sections=blocks,
        # It is about the file's own primary section.
        options=type(plan.configuration.options)(),
    )
    return Plan(configuration, tuple(kept), plan.broken)
