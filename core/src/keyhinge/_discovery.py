"""Finding provider packages by their entry points, and loading the one that a section names."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from keyhinge._contract import check_module
from keyhinge._errors import ProviderConflictError, ProviderLoadError, ProviderNotFoundError
from keyhinge._hookspecs import API_VERSION
from keyhinge._names import closest, suggest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["InstalledProvider", "LoadedProvider", "Registry", "installed_providers"]

log = logging.getLogger("keyhinge")

GROUP = "keyhinge.providers"
# The current one and the one before; the first one was 1.
ACCEPTED_API = tuple(range(max(1, API_VERSION - 1), API_VERSION + 1))

# Which of our own distributions has a provider, for the pip line of a message. Everything else
# is found by its entry point alone.
_OUR_EXTRAS = {
    "plaintext": "plaintext",
    "local": "local",
    "envelope": "local",
    "aws": "aws",
    "vault": "vault",
    "openbao": "vault",
}


@attrs.frozen
class InstalledProvider:
    """A provider as the installed packages' metadata tells it; nothing is imported for it.

    Attributes:
        name: The entry point's name.
        distribution: The package that has it.
        version: That package's version.
        target: What the entry point names, as in `keyhinge_local`.
    """

    name: str
    distribution: str
    version: str
    target: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@attrs.frozen
class LoadedProvider:
    """A provider's module (or instance) after its import, checked against the hook API."""

    name: str
    distribution: str
    module: Any
    settings: type


def installed_providers() -> list[InstalledProvider]:
    """List the installed providers by name, from metadata alone."""
    return sorted(map(_describe, _entry_points()), key=attrs.astuple)


class Registry:
    """Providers by name, for one reading of the configuration."""

    def __init__(self, given: Mapping[str, object] | None = None) -> None:
        """Look the entry points up once.

        Args:
            given: Providers to use instead of installed ones, by name; for tests and embedding.
        """
        self._given = dict(given or {})
        self._points: dict[str, list[EntryPoint]] = {}
        for point in _entry_points():
            self._points.setdefault(point.name, []).append(point)
        self._loaded: dict[str, LoadedProvider] = {}

    def names(self) -> list[str]:
        """List the names that can be loaded."""
        return sorted({*self._points, *self._given})

    def load(self, name: str) -> LoadedProvider:
        """Import one provider and check it; no other package is touched.

        Raises:
            ProviderNotFoundError: Nothing installed has this name.
            ProviderConflictError: Two distributions have it.
            ProviderLoadError: It can't be imported, or doesn't keep to the hook API.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> LoadedProvider:
        if name in self._given:
            return _checked(name, "the application (providers=)", self._given[name])
        points = self._points.get(name, [])
        if not points:
            raise ProviderNotFoundError(self._not_found(name))
        if len(points) > 1:
            owners = " and ".join(sorted(str(_describe(point)) for point in points))
            msg = (
                f"two installed packages have a provider called {name!r}: {owners}. "
                "Uninstall the one that you don't want"
            )
            raise ProviderConflictError(msg)
        distribution = str(_describe(points[0]))
        return _checked(name, distribution, _import(points[0], name, distribution))

    def _not_found(self, name: str) -> str:
        names = self.names()
        near = closest(name, {*names, *_OUR_EXTRAS})
        # A slip in the name of one of ours that isn't installed either.
        extra = _OUR_EXTRAS.get(name) or (
            _OUR_EXTRAS.get(near or "") if near not in names else None
        )
        package = f'"keyhinge[{extra}]"' if extra else f"keyhinge-{name}"
        hint = "" if extra else " (or whichever package has it)"
        known = f"installed are {', '.join(names)}" if names else "none is installed"
        return (
            f"no provider called {name!r}: {known}.{suggest(name, [near] if near else [])} "
            f"To install it: pip install {package}{hint}"
        )


def _entry_points() -> list[EntryPoint]:
    # Not at the top: it brings the whole of `email` along, a third of what importing us costs.
    from importlib.metadata import distributions, entry_points

    # One package's damaged metadata ends the reading of all: then they are read one by one.
    with contextlib.suppress(Exception):
        return list(entry_points(group=GROUP))
    found: list[EntryPoint] = []
    seen: set[str] = set()
    for distribution in distributions():
        try:
            name = distribution.metadata["Name"]
            points = [point for point in distribution.entry_points if point.group == GROUP]
        except Exception as failure:  # noqa: BLE001 - as above
            log.warning(
                "an installed package's metadata can't be read (%s); it is left out",
                type(failure).__name__,
                extra={"event": "keyhinge.damaged_metadata"},
            )
            continue
        # The first one on the path hides the others of its name, as for imports.
        if name not in seen:
            seen.add(name)
            found += points
    return found


def _describe(point: EntryPoint) -> InstalledProvider:
    dist = point.dist
    try:
        name, version = (dist.name, dist.version) if dist is not None else ("", "")
    except Exception:  # noqa: BLE001 - damaged metadata, which other packages needn't suffer from
        name, version = "", ""
    return InstalledProvider(
        point.name, name or "a package without a name", version or "", point.value
    )


def _import(point: EntryPoint, name: str, distribution: str) -> object:
    # SystemExit too: a package that calls sys.exit() on import must not end the application.
    try:
        return point.load()
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - whatever a stranger's import does
        kind = type(failure).__name__
        missing = failure.name if isinstance(failure, ModuleNotFoundError) else None
    module = point.value.partition(":")[0]
    reason = f"{kind}: no module named {missing!r}" if missing else kind
    msg = (
        f"provider {name!r} of {distribution} can't be imported ({reason}). Reinstall that "
        f"package, or see the whole error with: python -c 'import {module}'"
    )
    raise ProviderLoadError(msg)


def _checked(name: str, distribution: str, module: Any) -> LoadedProvider:
    try:
        problem = _module_problem(module) or _reported(check_module(module))
        if problem is None:
            return LoadedProvider(name, distribution, module, module.keyhinge_settings)
    except Exception as failure:  # noqa: BLE001 - a stranger's properties, or a module's __getattr__
        problem = _reported(f"looking at it raised {type(failure).__name__}")
    msg = f"provider {name!r} of {distribution} doesn't keep to the hook API: {problem}"
    raise ProviderLoadError(msg)


def _module_problem(module: Any) -> str | None:
    if inspect.isclass(module):
        return _reported("its entry point names a class; it must name a module or an instance")
    api = getattr(module, "keyhinge_api", None)
    if api is None:
        return _reported(f"it has no keyhinge_api (an int; this core speaks {API_VERSION})")
    if type(api) is not int:
        kind = type(api).__name__
        return _reported(f"its keyhinge_api is a {kind}; it must be an int, such as {API_VERSION}")
    if api not in ACCEPTED_API:
        return f"it was written for hook API {api}, {_other_api(api)}"
    settings = getattr(module, "keyhinge_settings", None)
    if not (inspect.isclass(settings) and attrs.has(settings)):
        return _reported("its keyhinge_settings isn't an attrs class")
    return None


def _other_api(api: int) -> str:
    from importlib.metadata import PackageNotFoundError, version

    own = "keyhinge"
    with contextlib.suppress(PackageNotFoundError):  # run from its source
        own = f"keyhinge {version('keyhinge')}"
    spoken = " and ".join(map(str, ACCEPTED_API))
    if api > API_VERSION:
        what = "upgrade keyhinge (pip install --upgrade keyhinge), or install an older version"
        return f"and {own} speaks {spoken} only: {what} of that package"
    return f"and {own} speaks {spoken} only: upgrade that package, or install an older keyhinge"


def _reported(problem: str | None) -> str | None:
    """Say who can mend it."""
    return problem and f"{problem}. This is a bug in that package; please report it there"


def import_object(path: str) -> object:
    """Import `package.module:attribute`; an observer that the configuration names.

    Raises:
        ValueError: It isn't of that form.
        ImportError: There is no such module.
        AttributeError: The module has no such attribute.
    """
    module, separator, attribute = path.partition(":")
    if not separator or not module or not attribute:
        msg = "must have the form package.module:attribute"
        raise ValueError(msg)
    found: object = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found
