"""Is it the hook API that a provider implements? Checks that pluggy doesn't make."""

from __future__ import annotations

import inspect
from types import FunctionType, MethodType
from typing import Any

import pluggy

from keyhinge._hookspecs import (
    OPTIONAL_HOOKS,
    REQUIRED_HOOKS,
    Capabilities,
    ModuleSpecs,
    ObserverSpecs,
    Provider,
    ProviderSpecs,
)
from keyhinge._names import closest

__all__ = ["PluginManager", "check_module", "check_observer", "check_provider", "is_inherited"]

_PREFIX = "keyhinge_"
# What a provider's module has beside its hook.
_MODULE_ATTRIBUTES = ("keyhinge_api", "keyhinge_settings")


class PluginManager(pluggy.PluginManager):
    """pluggy's, but looking at our names only, and without evaluating a property."""

    def __init__(self) -> None:
        super().__init__("keyhinge")
        for specs in (ModuleSpecs, ProviderSpecs, ObserverSpecs):
            self.add_hookspecs(specs)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Look at a member only if it is a function with our prefix."""
        if not name.startswith(_PREFIX) or _function(plugin, name) is None:
            return None
        return super().parse_hookimpl_opts(plugin, name)


def check_module(module: object) -> str | None:
    """Say what is wrong with a provider's module; None where nothing is."""
    names = [
        name
        for name in dir(module)
        if name.startswith(_PREFIX)
        and name not in _MODULE_ATTRIBUTES
        # A module imports submodules of its own name, as keyhinge_local does keyhinge_local.x.
        and not inspect.ismodule(inspect.getattr_static(module, name, None))
    ]
    if "keyhinge_configure" not in names:
        return "it has no keyhinge_configure hook"
    return _first_problem(module, names, ModuleSpecs, ("keyhinge_configure",))


def check_provider(provider: object) -> str | None:
    """Say what is wrong with what `keyhinge_configure` returned; None where nothing is."""
    if not isinstance(provider, Provider):
        return f"keyhinge_configure returned {type(provider).__name__}, not a Provider"
    if type(inspect.getattr_static(provider, "capabilities", None)) is not Capabilities:
        return "its capabilities attribute isn't a Capabilities"
    names = [
        name
        for name in dir(provider)
        if name.startswith(_PREFIX) and not is_inherited(provider, name)
    ]
    missing = [name for name in REQUIRED_HOOKS if name not in names]
    if missing:
        return f"it doesn't implement {', '.join(missing)}"
    return _first_problem(provider, names, ProviderSpecs, REQUIRED_HOOKS + OPTIONAL_HOOKS)


def is_inherited(provider: object, name: str) -> bool:
    """Tell whether a provider has a hook only from `Provider`, so that it doesn't implement it."""
    return inspect.getattr_static(provider, name, None) is Provider.__dict__.get(name)


def check_observer(observer: object) -> str | None:
    """Say what is wrong with an observer; None where nothing is."""
    if inspect.isclass(observer):
        return "it is a class; give an instance"
    name = "keyhinge_operation"
    if _function(observer, name) is None:
        return f"it has no {name} method"
    problem = _hook_problem(observer, name, ObserverSpecs, wrapper=True)
    return problem and f"{name} {problem}"


def _first_problem(
    plugin: object, names: list[str], specs: type, known: tuple[str, ...]
) -> str | None:
    for name in names:
        if name not in known:
            near = closest(name, known)
            hint = f" (did you mean '{near}'?)" if near else ""  # the sentence ends behind it
            return f"{name} isn't a hook of this API{hint}"
        problem = _hook_problem(plugin, name, specs)
        if problem:
            return f"{name} {problem}"
    return None


def _hook_problem(plugin: object, name: str, specs: type, *, wrapper: bool = False) -> str | None:
    function = _function(plugin, name)
    if function is None:
        return "isn't a function"
    options = getattr(function, "keyhinge_impl", None)
    if options is None:
        return "lacks the @hookimpl marker, so it would never be called"
    if options.get("hookwrapper") or bool(options.get("wrapper")) is not wrapper:
        return "must be a wrapper (@hookimpl(wrapper=True))" if wrapper else "can't be a wrapper"
    if options.get("specname") or options.get("optionalhook"):
        return "uses specname or optionalhook, which this API doesn't know"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "is async; hooks are plain functions"
    if inspect.isgeneratorfunction(function) is not wrapper:
        return "must yield once" if wrapper else "is a generator; hooks return their result"
    return _signature_problem(plugin, name, function, specs)


def _signature_problem(
    plugin: object, name: str, function: FunctionType, specs: type
) -> str | None:
    expected = list(inspect.signature(getattr(specs, name)).parameters)[1:]
    parameters = list(inspect.signature(function).parameters.values())
    if isinstance(getattr(plugin, name), MethodType):
        parameters = parameters[1:]
    plain = all(
        parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        and parameter.default is inspect.Parameter.empty
        for parameter in parameters
    )
    # The order matters: core calls the method directly, with positional arguments.
    if not plain or [parameter.name for parameter in parameters] != expected:
        return f"must take exactly ({', '.join(expected)}), in this order and without defaults"
    return None


def _function(plugin: object, name: str) -> FunctionType | None:
    """Find the plain function behind a member without evaluating properties."""
    member = inspect.getattr_static(plugin, name, None)
    if isinstance(member, (staticmethod, classmethod)):
        member = member.__func__
    return member if isinstance(member, FunctionType) else None
