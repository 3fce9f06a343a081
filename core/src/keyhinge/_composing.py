"""Sections that build on other sections, as envelope encryption does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from keyhinge._asked import AskedBelow
from keyhinge._batch import open_batch
from keyhinge._context import Context, own_context
from keyhinge._errors import (
    ConfigError,
    InvalidCiphertextError,
    KeyhingeError,
    OperationError,
    Problem,
    SectionNotConfiguredError,
)
from keyhinge._hookspecs import Capabilities, Decrypt, Encrypt, KeyRef
from keyhinge._section import OpenSection
from keyhinge._section_batch import open_many, rewrap_many, seal_many
from keyhinge._value import EncryptedValue

__all__ = ["ComposingClient", "ConfiguringSection", "reachable"]


class ComposingClient:
    """What `Section.over` gives: a way to use the sections fixed there, and no others.

    It holds only those sections, never the whole configuration, so that they are closed after
    the section that builds on them and nothing refers to itself.
    """

    def __init__(self, name: str, also: Sequence[str], *, wraps_keys: bool = False) -> None:
        self._name = name
        self.names = (name, *also)
        self.wraps_keys = wraps_keys
        # Counted apart, so that whoever wants to know holds no section by it.
        self.asked = AskedBelow()
        self._sections: dict[str, OpenSection | KeyhingeError] = {}

    def bind(
        self, sections: Mapping[str, OpenSection | KeyhingeError], labels: Mapping[str, str]
    ) -> None:
        """Take the opened sections, once all are configured.

        Args:
            sections: The sections by name, or why one can't be used.
            labels: The section of each name that a value may carry, aliases too.
        """
        self._sections = {
            label: sections[name] for label, name in labels.items() if name in self.names
        }

    @property
    def name(self) -> str:
        """The section that encrypts."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What that section can do."""
        return self._section(self._name).capabilities

    def encrypt(self, plaintext: bytes, context: Context) -> EncryptedValue:
        """Encrypt with the named section; the context may use the reserved keys."""
        section = self._section(self._name)
        self.asked.one(section)
        return section.seal(plaintext, own_context(context))

    def decrypt(self, value: EncryptedValue, context: Context) -> bytes:
        """Decrypt with the section that the value names, if it is one of those fixed."""
        section = self._section_of(value.section)
        self.asked.one(section)
        return section.open(value, own_context(context))

    def encrypt_many(self, items: Sequence[Encrypt]) -> Sequence[EncryptedValue | OperationError]:
        """Encrypt a batch with the named section; contexts may use the reserved keys."""
        checked = [Encrypt(item.plaintext, own_context(item.context)) for item in items]
        section = self._section(self._name)
        self.asked.many(section, "encrypt", len(checked))
        return seal_many(section, checked)

    def decrypt_many(self, items: Sequence[Decrypt]) -> Sequence[bytes | OperationError]:
        """Decrypt a batch, each item with the section that it names, if that is one of those."""
        return open_batch(items, self._section_of, self._open, own_context)

    def rewrap_many(self, items: Sequence[Decrypt]) -> Sequence[EncryptedValue | OperationError]:
        """Bring values to the named section's newest key version, whichever section made them."""
        named = self._section(self._name)
        checked = [Decrypt(item.value, own_context(item.context)) for item in items]
        at_home = [self._sections.get(item.value.section) is named for item in checked]
        those = [item for item, home in zip(checked, at_home, strict=True) if home]
        self.asked.many(named, "rewrap", len(those))
        answers = iter(rewrap_many(named, those))
        return [
            next(answers) if home else self._move(item)
            for item, home in zip(checked, at_home, strict=True)
        ]

    def _open(
        self, section: OpenSection, items: Sequence[Decrypt]
    ) -> Sequence[bytes | OperationError]:
        self.asked.many(section, "decrypt", len(items))
        return open_many(section, items)

    def _move(self, item: Decrypt) -> EncryptedValue | OperationError:
        try:
            return self.encrypt(self.decrypt(item.value, item.context), item.context)
        except OperationError as failure:
            return failure.with_traceback(None)

    def current_key(self) -> KeyRef:
        """Tell the key that encrypts now."""
        return self._section(self._name).current_key()

    def _section_of(self, label: str) -> OpenSection:
        """Find the section that a value names: one of those fixed, whatever the value says."""
        if self._sections and label not in self._sections:
            raise InvalidCiphertextError
        return self._section(label)

    def _section(self, name: str) -> OpenSection:
        found = self._sections.get(name)
        if found is None:
            msg = "another section can't be used while the sections are being configured"
            raise ConfigError(msg)
        if isinstance(found, KeyhingeError):
            msg = f"the section {name!r} that it builds on can't be used: {found}"
            raise SectionNotConfiguredError(msg)
        return found


class ConfiguringSection:
    """What `keyhinge_configure` gets to see of its section.

    Args:
        name: The section's name.
        base_dir: The folder at which relative paths start.
        environ: The environment variables.
        known: The names of all configured sections.
    """

    def __init__(
        self, name: str, base_dir: Path, environ: Mapping[str, str], known: Sequence[str]
    ) -> None:
        self.name = name
        self.path = f"keyManagement.{name}"
        self.base_dir = base_dir
        self.environ = environ
        self._known = known
        self._open = True
        self.clients: list[ComposingClient] = []

    def over(
        self, name: str, *, also: Sequence[str] = (), wraps_keys: bool = False
    ) -> ComposingClient:
        """Use another section, to build on it; see `Section.over`."""
        if not self._open:
            msg = f"section {self.name!r}: over() works only in keyhinge_configure"
            raise ConfigError(msg)
        for target in (name, *also):
            if target not in self._known:
                msg = f"builds on a section {target!r} that the file doesn't have"
                raise ConfigError(Problem(self.path, msg))
        client = ComposingClient(name, also, wraps_keys=wraps_keys)
        self.clients.append(client)
        return client

    def finish(self) -> None:
        """End the time in which `over` may be used."""
        self._open = False


def reachable(edges: Mapping[str, set[str]], start: str) -> set[str]:
    """Find the sections that one builds on, directly or through others."""
    seen: set[str] = set()
    todo = list(edges.get(start, ()))
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += edges.get(name, ())
    return seen
