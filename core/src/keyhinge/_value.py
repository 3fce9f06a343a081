"""The encrypted value and its two encodings.

The formats are binding: they stand in other people's databases. `docs/reference/formats.md` has
them byte by byte.
"""

from __future__ import annotations

import binascii
import contextlib
import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

from keyhinge._errors import InvalidCiphertextError
from keyhinge._names import SECTION_NAME

__all__ = ["EncryptedValue"]

MAX_CIPHERTEXT_BYTES = 64 * 1024 * 1024 + 64 * 1024

_TEXT_MAGIC = "kh1"
_BYTES_MAGIC = b"\xd3\x4b\x48\x01"  # D3 4B is never UTF-8, so bytes are never taken for text
_KEY_ID = re.compile(r"[\x21-\x7e]{0,512}")
_VERSION = re.compile(r"[A-Za-z0-9._-]{0,64}")
_MAX_TEXT = 4 * (MAX_CIPHERTEXT_BYTES // 3 + 1) + 1024


class EncryptedValue:
    """A ciphertext with the section, key id and key version that it was made with.

    Immutable, compared by its parts, and safe to log: its repr doesn't show the ciphertext.

    Args:
        section: The section that made it, `[a-z][a-z0-9-]{0,31}`.
        key_id: The key's identifier, at most 512 printable ASCII characters without spaces
            (0x21 to 0x7E); empty where the provider has no keys.
        version: The key's version, at most 64 characters of `A-Za-z0-9._-`; empty where the
            service doesn't tell it.
        ciphertext: 1 byte to 64 MiB + 64 KiB.

    Raises:
        InvalidCiphertextError: A part breaks its grammar.
    """

    __slots__ = ("_ciphertext", "_key_id", "_section", "_version")

    _section: str
    _key_id: str
    _version: str
    _ciphertext: bytes

    def __init__(self, section: str, key_id: str, version: str, ciphertext: bytes) -> None:
        problem = label_problem(key_id, version) or ciphertext_problem(ciphertext)
        if type(section) is not str or not SECTION_NAME.fullmatch(section):
            problem = "its section isn't a section name"
        if problem:
            raise InvalidCiphertextError(f"not an encrypted value: {problem}")
        self._section = section
        self._key_id = key_id
        self._version = version
        self._ciphertext = ciphertext

    if TYPE_CHECKING:

        @property
        def section(self) -> str: ...
        @property
        def key_id(self) -> str: ...
        @property
        def version(self) -> str: ...
        @property
        def ciphertext(self) -> bytes: ...

    else:
        # attrgetter is half the price of a Python function, and these run on the hot path.
        section = property(attrgetter("_section"), doc="The section that made the value.")
        key_id = property(attrgetter("_key_id"), doc="The key's identifier.")
        version = property(attrgetter("_version"), doc="The key's version, or empty.")
        ciphertext = property(attrgetter("_ciphertext"), doc="The provider's bytes.")

    def __repr__(self) -> str:
        return (
            f"EncryptedValue(section={self._section!r}, key_id={self._key_id!r}, "
            f"version={self._version!r}, ciphertext=<{len(self._ciphertext)} bytes>)"
        )

    def _parts(self) -> tuple[str, str, str, bytes]:
        return self._section, self._key_id, self._version, self._ciphertext

    def __eq__(self, other: object) -> bool:
        if type(other) is not EncryptedValue:
            return NotImplemented
        return self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def __reduce__(self) -> tuple[Any, ...]:
        return EncryptedValue, self._parts()

    def to_text(self) -> str:
        """Encode as `kh1:SECTION:KEYID:VERSION:BASE64`, for text columns and files."""
        body = binascii.b2a_base64(self._ciphertext, newline=False).decode("ascii")
        return f"{_TEXT_MAGIC}:{self._section}:{self._key_id}:{self._version}:{body}"

    def to_bytes(self) -> bytes:
        """Encode in the binary form, for binary columns: a quarter smaller than text."""
        section, key_id, version = (
            self._section.encode("ascii"),
            self._key_id.encode("ascii"),
            self._version.encode("ascii"),
        )
        return b"".join(
            (
                _BYTES_MAGIC,
                len(section).to_bytes(1, "big"),
                section,
                len(key_id).to_bytes(2, "big"),
                key_id,
                len(version).to_bytes(1, "big"),
                version,
                self._ciphertext,
            )
        )

    @staticmethod
    def from_text(text: str) -> EncryptedValue:
        """Parse what `to_text` made, and nothing else.

        Raises:
            InvalidCiphertextError: It isn't exactly what `to_text` makes.
        """
        if type(text) is not str:
            _refuse("the text form must be str")
        if len(text) > _MAX_TEXT or not text.isascii():
            _refuse("it isn't the text form")
        # Two fields from the left and two from the right: an ARN's colons need no escaping.
        magic, _, rest = text.partition(":")
        section, _, rest = rest.partition(":")
        head, _, body = rest.rpartition(":")
        key_id, separator, version = head.rpartition(":")
        if magic != _TEXT_MAGIC or not separator:
            _refuse("it doesn't begin with 'kh1:' or has too few parts")
        ciphertext = _decode_base64(body)
        return EncryptedValue(section, key_id, version, ciphertext)

    @staticmethod
    def from_bytes(data: bytes) -> EncryptedValue:
        """Parse what `to_bytes` made, and nothing else.

        Raises:
            InvalidCiphertextError: It isn't exactly what `to_bytes` makes.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            _refuse("the binary form must be bytes")
        data = bytes(data)
        if data[:4] != _BYTES_MAGIC:
            _refuse("it doesn't begin with the bytes of the binary form")
        section, at = _take(data, 4, 1)
        key_id, at = _take(data, at, 2)
        version, at = _take(data, at, 1)
        return EncryptedValue(section, key_id, version, data[at:])


def make_value(section: str, key_id: str, version: str, ciphertext: bytes) -> EncryptedValue:
    """Make a value from parts that were checked before; for the hot path."""
    # The class's own second constructor, hence its private parts.
    value = _new(EncryptedValue)
    value._section = section  # noqa: SLF001
    value._key_id = key_id  # noqa: SLF001
    value._version = version  # noqa: SLF001
    value._ciphertext = ciphertext  # noqa: SLF001
    return value


def label_problem(key_id: object, version: object) -> str | None:
    """Say what is wrong with a key id or version; None where nothing is."""
    if type(key_id) is not str or not _KEY_ID.fullmatch(key_id):
        return "its key id isn't at most 512 printable ASCII characters without spaces"
    if type(version) is not str or not _VERSION.fullmatch(version):
        return "its version isn't at most 64 letters, digits, '.', '_' or '-'"
    return None


def ciphertext_problem(ciphertext: object) -> str | None:
    """Say what is wrong with a ciphertext's type or size; None where nothing is."""
    if type(ciphertext) is not bytes:
        return f"its ciphertext is {type(ciphertext).__name__}, not bytes"
    if not ciphertext:
        return "its ciphertext is empty"
    if len(ciphertext) > MAX_CIPHERTEXT_BYTES:
        return "its ciphertext is larger than 64 MiB + 64 KiB"
    return None


_new = object.__new__


def _refuse(problem: str) -> NoReturn:
    raise InvalidCiphertextError(f"not an encrypted value: {problem}")


def _decode_base64(body: str) -> bytes:
    decoded = None
    with contextlib.suppress(binascii.Error):
        decoded = binascii.a2b_base64(body)
    # Decoders accept stray pad bits (strict ones too), so encode again and compare.
    if decoded is None or binascii.b2a_base64(decoded, newline=False).decode("ascii") != body:
        _refuse("its last part isn't canonical base64")
    return decoded


def _take(data: bytes, at: int, width: int) -> tuple[str, int]:
    start = at + width
    end = start + int.from_bytes(data[at:start], "big")
    field = data[start:end]
    if start > len(data) or end > len(data) or not field.isascii():
        _refuse("it is cut short or a label isn't ASCII")
    return field.decode("ascii"), end
