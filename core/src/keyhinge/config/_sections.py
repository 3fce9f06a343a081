"""Understanding `keyManagement`: its sections, its primary, its options."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import attrs

from keyhinge._errors import Problem
from keyhinge._names import RESERVED_NAMES, closest, is_section_name, suggest
from keyhinge._settings import InvalidSettings, setting, settings
from keyhinge.config._block import SectionBlock, names_in, read_section, text_of
from keyhinge.config._durations import parse_duration
from keyhinge.config._keys import match_keys, unknown_key
from keyhinge.config._nodes import MappingNode, Node, ScalarNode, problems_of
from keyhinge.config._structure import structure
from keyhinge.config._views import origin_of, views_of

__all__ = ["KeyManagement", "Options", "SectionBlock", "read_key_management"]

ROOT = "keyManagement"
PROVIDER_VARIABLE = "KEYHINGE_PROVIDER"
ENCRYPTION_VARIABLE = "KEYHINGE_REQUIRE_ENCRYPTION"

_OWN_KEYS = ("provider", "options", "observers")
_OBSERVER = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


@settings
class Options:
    """The keys under `keyManagement.options`.

    Attributes:
        require_encryption: Whether a primary section that doesn't encrypt is an error.
        max_key_age: For how long a key version may be in use, as in "365d"; None for any time.
    """

    require_encryption: bool = setting(
        alias="requireEncryption",
        default=False,
        help="Refuse to start when the primary section doesn't encrypt.",
        example="true",
    )
    max_key_age: str | None = setting(
        alias="maxKeyAge",
        default=None,
        help="For how long a key version may be in use: a whole number with its unit `s`, `m`, "
        "`h`, `d` or `w`. `keyhinge status` and `keyhinge report` say where it was longer; "
        "nothing is refused.",
        example="365d",
    )

    def __attrs_post_init__(self) -> None:
        if self.max_key_age is not None:
            try:
                parse_duration(self.max_key_age)
            except ValueError as error:
                raise InvalidSettings({"maxKeyAge": str(error)}) from None

    @property
    def key_age(self) -> timedelta | None:
        """What `max_key_age` says."""
        return None if self.max_key_age is None else parse_duration(self.max_key_age)


@attrs.frozen
class KeyManagement:
    """What `keyManagement` says. In origins, `{file}` stands for the file's name."""

    primary: str
    primary_origin: str
    implicit_plaintext: bool
    sections: dict[str, SectionBlock]
    options: Options
    options_origins: Mapping[str, str]
    observers: tuple[str, ...]
    problems: tuple[Problem, ...]


def read_key_management(node: Node, environ: Mapping[str, str], base_dir: Path) -> KeyManagement:
    """Read the block.

    Args:
        node: `keyManagement`, with environment variables filled in.
        environ: The environment variables, for those of Keyhinge itself.
        base_dir: The folder that relative paths start at.

    Returns:
        What it says; what is wrong with the block as a whole is in `problems`.
    """
    return _Reader(node, environ, base_dir).read()


class _Reader:
    def __init__(self, node: Node, environ: Mapping[str, str], base_dir: Path) -> None:
        self._environ = environ
        self._base_dir = base_dir
        self._problems: list[Problem] = list(node.problems)
        self._sections: dict[str, SectionBlock] = {}
        self._block = self._mapping(node)
        self._line = node.line

    def _mapping(self, node: Node) -> MappingNode:
        if isinstance(node, MappingNode):
            return node
        if not (isinstance(node, ScalarNode) and node.is_null):
            message = "must be a block with 'provider:' and one block for each section"
            self._add(node, message)
        return MappingNode(path=node.path, line=node.line)

    def _add(self, node: Node, message: str) -> None:
        self._problems.append(Problem(node.path, message, node.line))

    def read(self) -> KeyManagement:
        own = {key: node for key, node in self._block.entries.items() if key.lower() in _OWN_KEYS}
        matched = match_keys(attrs.evolve(self._block, entries=own), _OWN_KEYS)
        self._problems.extend(matched.problems)
        for key, node in self._block.entries.items():
            if key not in own:
                self._section(key, node)
        options_node = matched.nodes.get("options")
        options = self._options(options_node)
        observers = self._observers(matched.nodes.get("observers"))
        self._implied_block(matched.nodes.get("provider"))
        self._check_aliases()
        primary, origin = self._primary(matched.nodes.get("provider"))
        implicit = not primary and not self._sections and not self._has_errors()
        if implicit:
            primary, origin = "plaintext", "default"
            node = MappingNode(path=f"{ROOT}.plaintext", line=self._line)
            self._sections[primary] = SectionBlock(primary, primary, (), node, named_in_file=False)
        return KeyManagement(
            primary=primary,
            primary_origin=origin,
            implicit_plaintext=implicit,
            sections=self._sections,
            options=options,
            options_origins=self._origins_of_options(options_node),
            observers=observers,
            problems=tuple(self._problems),
        )

    def _has_errors(self) -> bool:
        return any(problem.severity == "error" for problem in self._problems)

    # Sections

    def _section(self, key: str, node: Node) -> None:
        name = key.lower()
        wrong = _not_a_section(key, node, self._block)
        if wrong is not None:
            self._problems.append(wrong)
            return
        if name in self._sections:
            self._add(node, "two sections differ only in case; rename one of them")
            return
        if name != key:
            message = f"the section should be spelt '{name}'; it is taken as that"
            self._problems.append(Problem(node.path, message, node.line, "warning"))
        self._sections[name] = read_section(name, node)

    def _check_aliases(self) -> None:
        owners: dict[str, str] = {}
        for section in self._sections.values():
            for alias in section.aliases:
                node = section.node
                if alias in self._sections:
                    other = "the section's own name" if alias == section.name else "a section"
                    self._alias_problem(node, f"'{alias}' is {other}, so it can't be an alias")
                elif alias in owners:
                    owner = owners[alias]
                    self._alias_problem(node, f"'{alias}' is an alias of the section {owner} too")
                else:
                    owners[alias] = section.name

    def _alias_problem(self, node: MappingNode, message: str) -> None:
        self._problems.append(Problem(f"{node.path}.aliases", message, node.line))

    # The other keys

    def _options(self, node: Node | None) -> Options:
        options = Options()
        if node is not None:
            made = structure(node, Options, base_dir=self._base_dir)
            self._problems.extend(made.problems)
            options = made.value or options
        required = self._encryption_required() or options.require_encryption
        return Options(requireEncryption=required, maxKeyAge=options.max_key_age)

    def _encryption_required(self) -> bool:
        value = self._environ.get(ENCRYPTION_VARIABLE, "").lower()
        if value in {"", "0", "false"}:
            return False
        if value not in {"1", "true"}:
            message = f"the environment variable {ENCRYPTION_VARIABLE} must be 1 or 0"
            self._problems.append(Problem("", message))
        return True

    def _origins_of_options(self, node: Node | None) -> dict[str, str]:
        views = views_of(node, Options, "{file}") if node is not None else ()
        origins = {view.key: view.origin for view in views}
        if self._environ.get(ENCRYPTION_VARIABLE):
            origins["requireEncryption"] = f"${ENCRYPTION_VARIABLE}"
        return origins

    def _observers(self, node: Node | None) -> tuple[str, ...]:
        if node is None or (isinstance(node, ScalarNode) and node.is_null):
            return ()
        names, problems = names_in(node, "must be a list of observers, as in [package.module:name]")
        self._problems.extend(problems)
        for item, name in names:
            if not _OBSERVER.fullmatch(name):
                self._add(item, "must name an observer, as in package.module:name")
        return tuple(name for _, name in names)

    def _implied_block(self, node: Node | None) -> None:
        """Give `provider: plaintext` the empty block that it needn't have in the file."""
        name = text_of(node) if node is not None else None
        if name == "plaintext" and name not in self._sections:
            block = MappingNode(path=f"{ROOT}.{name}", line=self._line)
            self._sections[name] = SectionBlock(name, name, (), block)

    def _primary(self, node: Node | None) -> tuple[str, str]:
        override = self._environ.get(PROVIDER_VARIABLE, "")
        if override:
            return self._overridden(override)
        if node is None:
            if self._sections:
                names = ", ".join(self._sections)
                message = (
                    f"this key is missing: it names the section that encrypts. There are: {names}"
                )
                self._problems.append(Problem(f"{ROOT}.provider", message, self._line))
            return "", ""
        problems = list(problems_of(node))
        self._problems.extend(problems)
        name = text_of(node)
        if problems:
            return "", ""
        if name == "" or (isinstance(node, ScalarNode) and node.is_null):
            self._add(node, "is empty. It must name the section that encrypts")
        elif name is None:
            self._add(node, "must name the section that encrypts")
        elif name not in self._sections:
            self._add(node, self._no_section(name))
        else:
            return name, origin_of(node, "{file}")
        return "", ""

    def _overridden(self, name: str) -> tuple[str, str]:
        if name in self._sections:
            return name, f"${PROVIDER_VARIABLE}"
        message = f"the environment variable {PROVIDER_VARIABLE} {self._no_section(name)}"
        self._problems.append(Problem(f"{ROOT}.provider", message))
        return "", ""

    def _no_section(self, name: str) -> str:
        if not self._sections:
            return "names a section, but the file has none. Add its block below keyManagement"
        names = ", ".join(self._sections)
        return f"names no section of the file; there are: {names}.{suggest(name, self._sections)}"


def _not_a_section(key: str, node: Node, block: MappingNode) -> Problem | None:
    """Say why a key of `keyManagement` that isn't one of its own can't be a section."""
    name = key.lower()
    option = closest(key, ["requireEncryption", "maxKeyAge"])
    if option is not None:
        message = f"this key stands under 'options' (keyManagement.options.{option})"
        return Problem(node.path, message, node.line)
    if not is_section_name(name):
        problem = unknown_key(key, node, _OWN_KEYS)
        known = itertools.chain(_OWN_KEYS, (other for other in block.entries if other != key))
        message = (
            "this can't be a section: names begin with a letter and have up to 32 lower-case "
            f"letters, digits and '-'.{suggest(key, known)}"
        )
        return Problem(problem.path, message, node.line)
    if name in RESERVED_NAMES:
        return Problem(node.path, "no section may be called that; the name is reserved", node.line)
    empty = isinstance(node, ScalarNode) and node.is_null
    if not empty and not isinstance(node, MappingNode) and not node.problems:
        message = f"this is neither a block nor a key of keyManagement.{suggest(key, _OWN_KEYS)}"
        return Problem(node.path, message, node.line)
    typed = isinstance(node, MappingNode) and any(key.lower() == "type" for key in node.entries)
    meant = closest(key, _OWN_KEYS, cutoff=0.8)
    if meant is not None and not typed:
        message = (
            f"Did you mean '{meant}'? If this is a section, say which provider it is with 'type:'"
        )
        return Problem(node.path, message, node.line)
    return None
