"""KeyManager's operations for ordinary, blocking callers; `_async` adds the other forms."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar

from keyhinge._asked import Asked
from keyhinge._batch import open_batch, require_items, seal_batch
from keyhinge._context import Context, check_context
from keyhinge._errors import ClosedError, OperationError
from keyhinge._fork import start_anew_after_fork
from keyhinge._health import Health, check_section, probe, round_trip
from keyhinge._hookspecs import Capabilities, CheckReport, Decrypt, Encrypt, KeyRef, Purpose
from keyhinge._loader import Config, Loader
from keyhinge._observers import Observers, Seen, load_observers
from keyhinge._outcome import Outcome, outcomes, unwrap
from keyhinge._section import OpenSection
from keyhinge._section_batch import open_many, rewrap_many
from keyhinge._sections import Plan, Sections
from keyhinge._value import EncryptedValue

if TYPE_CHECKING:
    from typing_extensions import Self

    from keyhinge.config._configuration import Configuration

__all__ = ["CLOSED", "BlockingKeyManager"]

log = logging.getLogger("keyhinge")
T = TypeVar("T")
M = TypeVar("M", bound="BlockingKeyManager")

CLOSED = "this KeyManager is closed; open another one"

HEALTH_SECONDS = 30.0
"""For how long `health` gives the same answer without trying again."""


class BlockingKeyManager:
    """All of `KeyManager` but its async forms."""

    _observers: Observers | None

    @classmethod
    def open(
        cls,
        config: Config = None,
        *,
        observers: Iterable[object] = (),
        providers: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        require_encryption: bool | None = None,
        fail_fast: bool = False,
    ) -> Self:
        """Read a configuration and configure every section in it. Connects nowhere.

        Args:
            config: The file's path, or a mapping of the whole file, or None: then the variable
                `KEYHINGE_CONFIG` names the file, or else it is `./config.yaml`.
            observers: Objects with a `keyhinge_operation` wrapper, beside those that the file
                names.
            providers: Providers by name, used in place of installed ones; for tests.
            environ: The environment; the process's own if None.
            require_encryption: True makes a primary section that doesn't encrypt an error. It
                can't take away what the file or `KEYHINGE_REQUIRE_ENCRYPTION` demands.
            fail_fast: Try the primary section. What can't get better by itself raises; an outage
                is logged, so that an application can start during one.

        Raises:
            ConfigError: The file is wrong; it has every problem.
            ProviderError: The primary section's provider can't be used.
            OperationError: With `fail_fast`, the primary section doesn't work.
        """
        loader = Loader(config, providers, environ, bool(require_encryption))
        manager = cls(loader, loader.plan(), observers)
        if fail_fast:
            manager._try_primary()
        return manager

    def __init__(
        self, loader: Loader, plan: Plan, observers: Iterable[object] | None = None
    ) -> None:
        """Not for callers; see `KeyManager.open`. With None there are no observers at all."""
        self._loader = loader
        self._plan = plan
        self._given = None if observers is None else tuple(observers)
        self._observers = self._observe(plan)
        self._closed = False
        self._start()
        self._use(loader.open(plan))
        start_anew_after_fork(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._health_lock = threading.Lock()
        self._health: tuple[float, weakref.ref[OpenSection], Health] | None = None

    # One value

    def encrypt(
        self, plaintext: bytes, *, context: Context, section: str | None = None
    ) -> EncryptedValue:
        """Encrypt one value.

        Args:
            plaintext: The secret, as bytes.
            context: What is authenticated with the value and must be given again to decrypt it,
                such as the ids of its row. Not secret itself; `{}` for none.
            section: The section to encrypt with; the primary if None.

        Raises:
            OperationError: It can't be encrypted; the subclass says why.
            ConfigError: There is no such section.
            ClosedError: The KeyManager is closed.
        """
        try:
            opened = (section is None and self._primary) or self._section(section)
            if self._observers is None:
                return opened.seal(plaintext, check_context(context))
            return self._observers.one(
                Seen("encrypt", opened.name, opened, (Encrypt(plaintext, context),)),
                partial(_seal, opened, plaintext, context),
            )
        finally:
            del plaintext  # the traceback of an error refers to this frame

    def decrypt(self, value: EncryptedValue, *, context: Context) -> bytes:
        """Decrypt one value with the section that made it.

        Args:
            value: The encrypted value; see `EncryptedValue.from_text` and `from_bytes`.
            context: Exactly the context that it was encrypted with.

        Raises:
            InvalidCiphertextError: It was changed, moved, or the context is another one.
            SectionNotConfiguredError: The configuration has no section of that name.
            OperationError: Another reason; the subclass says which.
            ClosedError: The KeyManager is closed.
        """
        if type(value) is not EncryptedValue:
            raise TypeError(_not_a_value(value))
        if self._observers is None:
            opened = self._by_label.get(value.section) or self._section_of(value)
            return opened.open(value, check_context(context))
        return self._observers.one(
            self._seen("decrypt", (Decrypt(value, context),)),
            lambda: self._section_of(value).open(value, check_context(context)),
        )

    def rewrap(self, value: EncryptedValue, *, context: Context) -> EncryptedValue:
        """Bring a value to the newest key version of its own section.

        Args:
            value: The encrypted value.
            context: Exactly the context that it was encrypted with.

        Raises:
            OperationError: As for `decrypt` and `encrypt`.
            ClosedError: The KeyManager is closed.
        """
        if type(value) is not EncryptedValue:
            raise TypeError(_not_a_value(value))

        def call() -> EncryptedValue:
            item = Decrypt(value, check_context(context))
            return unwrap(rewrap_many(self._section_of(value), [item])[0])

        if self._observers is None:
            return call()
        return self._observers.one(self._seen("rewrap", (Decrypt(value, context),)), call)

    # Batches

    def encrypt_many(
        self, items: Sequence[Encrypt], *, section: str | None = None
    ) -> list[Outcome[EncryptedValue]]:
        """Encrypt a batch with as few calls to the key service as it allows.

        Args:
            items: Plaintexts, each with its context.
            section: The section to encrypt with; the primary if None.

        Returns:
            An outcome for each item, in their order; one bad item fails alone.
        """
        opened = self._section(section)
        require_items(items, Encrypt)
        if self._observers is None:
            return outcomes(seal_batch(items, opened))
        seen = Seen("encrypt_many", opened.name, opened, items)
        return outcomes(self._observers.around(seen, lambda: seal_batch(items, opened)))

    def decrypt_many(self, items: Sequence[Decrypt]) -> list[Outcome[bytes]]:
        """Decrypt a batch, whichever sections the values are from.

        Args:
            items: Values, each with its context.

        Returns:
            An outcome for each item, in their order; one bad item fails alone.
        """
        return self._open_many("decrypt_many", items, open_many)

    def rewrap_many(self, items: Sequence[Decrypt]) -> list[Outcome[EncryptedValue]]:
        """Bring a batch to the newest key version, each value in its own section.

        Args:
            items: Values, each with its context.

        Returns:
            An outcome for each item, in their order; one bad item fails alone.
        """
        return self._open_many("rewrap_many", items, rewrap_many)

    # Keys and sections

    @property
    def primary(self) -> str:
        """The name of the section that encrypts."""
        return self._opened().primary_name

    @property
    def sections(self) -> tuple[str, ...]:
        """The names of all configured sections, also of those that can't be used."""
        return self._opened().names

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self._plan.configuration

    def section_of(self, value: EncryptedValue | str) -> str:
        """Tell which section a value, or the name in one, belongs to; aliases are resolved.

        Raises:
            SectionNotConfiguredError: None, or one that can't be used.
        """
        label = value if isinstance(value, str) else value.section
        return self._opened().of_value(label).name

    def builds_on(self, section: str | None = None) -> tuple[str, ...]:
        """Name the sections that a section builds on, as envelope encryption does. No I/O.

        The one that encrypts for it comes first. Sections that these build on in turn aren't named.

        Args:
            section: The section, which may be one that can't be used; the primary if None.

        Raises:
            ConfigError: There is no such section, or it can't be configured.
            ProviderError: Its provider can't be used.
        """
        sections = self._opened()
        return sections.below(sections.primary_name if section is None else section)

    def asked_below(self) -> dict[str, Asked]:
        """Tell what sections that build on others have asked of those, by section.

        Counted since this KeyManager was opened, reloaded or forked. What callers ask a section
        for themselves isn't in it.
        """
        total: dict[str, Asked] = {}
        for counted in self._opened().asked:
            for name, (calls, values) in counted.counts().items():
                before = total.get(name, Asked(0, 0))
                total[name] = Asked(before.calls + calls, before.values + values)
        return total

    def capabilities(self, section: str | None = None) -> Capabilities:
        """Tell what a section can do; the primary if None."""
        return self._section(section).capabilities

    def takes_batches(
        self, operation: Literal["encrypt", "decrypt", "rewrap"], section: str | None = None
    ) -> bool:
        """Tell whether a section's provider has a batch hook for an operation.

        Args:
            operation: The operation. Without a hook, a batch is encrypted or decrypted value by
                value, and rewrapping it is decrypting and encrypting.
            section: The section; the primary if None.
        """
        return f"keyhinge_{operation}_many" in self._section(section).hooks

    def current_key(self, section: str | None = None) -> KeyRef:
        """Tell the key and version that a section encrypts with now; the primary if None."""
        return self._section(section).current_key()

    def has_data_keys(self, section: str | None = None) -> bool:
        """Tell whether a section makes data keys, and tells which one a value is under.

        Args:
            section: The section; the primary if None.
        """
        return "keyhinge_data_key" in self._section(section).hooks

    def data_key_of(self, value: EncryptedValue) -> str:
        """Name the data key that a value is under, as envelope encryption makes them. No I/O.

        The value is read, not opened: the name is as good as the value is.

        Args:
            value: The encrypted value.

        Returns:
            A name that values have in common if one key encrypted them; "" where the section has
            no data keys.

        Raises:
            InvalidCiphertextError: It isn't a value of this section's.
            SectionNotConfiguredError: The configuration has no section of that name.
        """
        return self._section_of(value).data_key(value)

    def is_stale(self, value: EncryptedValue, current: KeyRef) -> bool:
        """Tell whether a value isn't under the primary section's current key. No I/O.

        Args:
            value: The encrypted value.
            current: What `current_key()` gave for the primary section.

        Returns:
            True also where the value's version wasn't recorded while the service tells one.
        """
        sections = self._opened()
        if sections.labels.get(value.section) != sections.primary_name:
            return True
        return (value.key_id, value.version) != (current.key_id, current.version)

    # Operation

    def check(self, section: str | None = None, *, purpose: Purpose = "app") -> CheckReport:
        """Try a section out and ask its provider; findings, never an OperationError.

        Args:
            section: The section; the primary if None.
            purpose: What it is wanted for. "app" encrypts and decrypts a value; "migrate" rewraps
                one too; "read" encrypts nothing, since a reader may not have the right to.
                Errors and warnings that don't matter for the purpose become "info".
        """
        return check_section(self._section(section), purpose)

    def health(self, max_age: float = HEALTH_SECONDS) -> Health:
        """Tell whether the primary section works, for readiness probes.

        Args:
            max_age: For how many seconds an earlier answer will do.
        """
        opened = self._section(None)
        # One thread tries; the others wait for its answer.
        with self._health_lock:
            now = time.monotonic()
            known = self._health
            if known is None or known[1]() is not opened or now - known[0] >= max_age:
                # Weak: an old answer must not keep a section open.
                known = self._health = (now, weakref.ref(opened), probe(opened))
            return known[2]

    def reload(self) -> None:
        """Read the configuration again. If it is wrong, the old one stays in force.

        Sections of the old configuration are closed when the last call that uses them is done.

        Raises:
            ConfigError: The file is wrong now.
            ProviderError: The primary section's provider can't be used.
        """
        old = self._opened()
        plan = self._loader.plan()
        observers = self._observe(plan)
        sections = self._loader.open(plan)
        with self._lock:
            if self._closed:
                raise ClosedError(CLOSED)
            self._plan = plan
            self._observers = observers
            self._use(sections)
        del old  # closing may take its time: not under the lock

    def clone(self) -> Self:
        """Open the same configuration once more, sharing nothing: no client, no cache.

        Made to prove that what one KeyManager wrote another one can read. It has no observers.
        """
        self._opened()
        return type(self)(self._loader, self._plan)

    def close(self) -> None:
        """Close every section. Any later use is a ClosedError; closing again does nothing."""
        with self._lock:
            self._closed = True
            sections = self._sections
            self._use(None)
        if sections is not None:
            for opened in sections.closing_order:
                opened.close()

    def __enter__(self: M) -> M:  # noqa: PYI019 - Self isn't in Python 3.10
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            return "<KeyManager, closed>"
        configuration = self._plan.configuration
        source = f" of {configuration.source}" if configuration.source else ""
        return f"<KeyManager, primary {configuration.primary!r}{source}>"

    def __reduce__(self) -> NoReturn:
        msg = "a KeyManager can't be pickled or copied; open another one from the configuration"
        raise TypeError(msg)

    # Within

    def _opened(self) -> Sections:
        return self._sections or self._reopen()

    def _section(self, name: str | None) -> OpenSection:
        sections = self._sections or self._reopen()
        return sections.primary if name is None else sections.named(name)

    def _section_of(self, value: EncryptedValue) -> OpenSection:
        return self._opened().of_value(value.section)

    def _seen(self, name: str, items: Sequence[Decrypt]) -> Seen:
        sections = self._opened()
        labels = {item.value.section for item in items}
        named = {sections.labels.get(label, label) for label in labels}
        if len(named) != 1:
            return Seen(name, None, None, items)
        return Seen(name, named.pop(), sections.by_label.get(labels.pop()), items)

    def _observe(self, plan: Plan) -> Observers | None:
        if self._given is None:
            return None
        found = [*self._given, *load_observers(plan.configuration.observers)]
        return Observers(found) if found else None

    def _open_many(
        self,
        name: str,
        items: Sequence[Decrypt],
        run: Callable[[OpenSection, Sequence[Decrypt]], Sequence[T | OperationError]],
    ) -> list[Outcome[T]]:
        find = self._opened().of_value
        require_items(items, Decrypt)
        if self._observers is None:
            return outcomes(open_batch(items, find, run))
        return outcomes(
            self._observers.around(self._seen(name, items), lambda: open_batch(items, find, run))
        )

    def _use(self, sections: Sections | None) -> None:
        # None after a fork and after close; `_reopen` tells which.
        self._sections = sections
        # What the hot path needs, one attribute away.
        self._primary = None if sections is None else sections.primary
        self._by_label = {} if sections is None else sections.by_label

    def _reopen(self) -> Sections:
        with self._lock:
            if self._closed:
                raise ClosedError(CLOSED)
            sections = self._sections or self._loader.open(self._plan)
            self._use(sections)
            return sections

    def after_fork(self) -> None:
        """Start anew in a forked child; called by the library itself."""
        # The parent's clients, locks and threads are of no use here, and not ours to close.
        self._start()
        self._use(None)

    def _try_primary(self) -> None:
        opened = self._section(None)
        try:
            round_trip(opened)
        except OperationError as failure:
            if not failure.retryable:
                self.close()
                raise
            log.warning(
                "starting although the key service doesn't answer: %s",
                failure,
                extra={"event": "keyhinge.start_without_service", "section": opened.name},
            )


def _seal(opened: OpenSection, plaintext: bytes, context: Context) -> EncryptedValue:
    return opened.seal(plaintext, check_context(context))


def _not_a_value(value: object) -> str:
    return f"value must be an EncryptedValue, not {type(value).__name__}; see from_text"
