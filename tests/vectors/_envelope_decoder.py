"""A second reader of envelope ciphertexts, written from the description of the format alone.

It shares nothing with keyhinge: the context, the value that wraps a data key, the derivation and
the labels are all read here, byte by byte. Of other people's code it takes AES-GCM and SHA-512.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = 1
FIXED = 35  # up to and with the commitment: what the associated data begins with
NONCE, TAG = 12, 16
LARGEST = (64 << 20) + (64 << 10)
VALUE_MAGIC = b"\xd3KH\x01"
INFO = b"keyhinge/envelope/1\0"
WRAP_ENTRY = {"keyhinge": "envelope/1"}

Unwrap = Callable[["Value", Mapping[str, str]], bytes]
"""Gives the root key that a value wraps, under a wrap context."""


class NotAnEnvelope(Exception):
    """These bytes aren't what an encoder makes, or they don't open."""


class Value(NamedTuple):
    """An encrypted value: its labels and its ciphertext."""

    section: str
    key_id: str
    version: str
    ciphertext: bytes


class Envelope(NamedTuple):
    """The parts of an envelope ciphertext, and the bytes that its associated data begins with."""

    fixed: bytes
    bitmap: int
    commitment: bytes
    wrapped: Value
    nonce: bytes
    body: bytes


def open_value(value: Value, context: Mapping[str, str], unwrap: Unwrap) -> bytes:
    """Open a value of an envelope section; its labels must equal what the header says."""
    wrapped = parse(value.ciphertext).wrapped
    require(value.key_id == f"{wrapped.section}/{wrapped.key_id}", "another key id")
    require(value.version == wrapped.version, "another version")
    return open_ciphertext(value.ciphertext, context, unwrap)


def open_ciphertext(ciphertext: bytes, context: Mapping[str, str], unwrap: Unwrap) -> bytes:
    """Open an envelope ciphertext. `unwrap` opens the wrapped root key."""
    envelope = parse(ciphertext)
    wrap_context = {**WRAP_ENTRY, **partition(envelope.bitmap, context)}
    root = unwrap(envelope.wrapped, wrap_context)
    require(len(root) == 32, "a root key has 32 bytes")
    key, commitment = derive(root, wrap_context)
    require(hmac.compare_digest(commitment, envelope.commitment), "another commitment")
    aad = envelope.fixed + encode_context(context)
    try:
        return AESGCM(key).decrypt(envelope.nonce, envelope.body, aad)
    except InvalidTag:
        raise NotAnEnvelope("it doesn't open") from None


def parse(ciphertext: bytes) -> Envelope:
    """Take an envelope ciphertext apart."""
    require(len(ciphertext) <= LARGEST, "too long")
    require(len(ciphertext) >= FIXED + 2, "cut off in its header")
    version, bitmap = struct.unpack_from(">BH", ciphertext)
    require(version == VERSION, "another version of the format")
    (size,) = struct.unpack_from(">H", ciphertext, FIXED)
    require(size > 0, "a length of 0 is reserved")
    end = FIXED + 2 + size
    require(len(ciphertext) >= end + NONCE + TAG, "cut off")
    return Envelope(
        fixed=ciphertext[:FIXED],
        bitmap=bitmap,
        commitment=ciphertext[3:FIXED],
        wrapped=parse_value(ciphertext[FIXED + 2 : end]),
        nonce=ciphertext[end : end + NONCE],
        body=ciphertext[end + NONCE :],
    )


def partition(bitmap: int, context: Mapping[str, str]) -> dict[str, str]:
    """Give the entries that the bitmap names, in canonical order from the lowest bit."""
    ordered = canonical_order(context)
    require(bitmap < 1 << len(ordered), "a bit without an entry")
    entries = {key: context[key] for i, key in enumerate(ordered) if bitmap >> i & 1}
    own = any(key.lower().startswith("keyhinge") for key in entries)
    require(not own, "an entry of the library's own")
    return entries


def derive(root: bytes, wrap_context: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Derive the AES key and the commitment: the one block of HKDF-Expand with SHA-512."""
    info = INFO + encode_context(wrap_context)
    okm = hmac.digest(root, info + b"\x01", hashlib.sha512)
    return okm[:32], okm[32:]


def encode_context(context: Mapping[str, str]) -> bytes:
    """Encode a context."""
    parts = [b"khctx1", struct.pack(">B", len(context))]
    for key in canonical_order(context):
        name, value = key.encode("ascii"), context[key].encode("utf-8")
        parts += [struct.pack(">B", len(name)), name, struct.pack(">H", len(value)), value]
    return b"".join(parts)


def canonical_order(context: Mapping[str, str]) -> list[str]:
    """Sort a context's keys by their bytes."""
    return sorted(context, key=lambda key: key.encode("ascii"))


def parse_value(data: bytes) -> Value:
    """Parse the binary form of an encrypted value."""
    require(data.startswith(VALUE_MAGIC), "not the binary form of a value")
    labels: list[bytes] = []
    at = len(VALUE_MAGIC)
    for length in ("B", "H", "B"):
        length_size = struct.calcsize(">" + length)
        require(len(data) >= at + length_size, "a value that is cut off")
        (size,) = struct.unpack_from(">" + length, data, at)
        at += length_size
        require(len(data) >= at + size, "a value that is cut off")
        labels.append(data[at : at + size])
        at += size
    return checked(labels, data[at:])


def parse_text(text: str) -> Value:
    """Parse the text form of an encrypted value."""
    head, marker, rest = text.partition(":")
    section, _, rest = rest.partition(":")
    fields = rest.rsplit(":", 2)
    require(bool(marker) and head == "kh1" and len(fields) == 3, "not the text form of a value")
    try:
        labels = [field.encode("ascii") for field in (section, *fields)]
        ciphertext = base64.b64decode(labels[3], validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise NotAnEnvelope("not base64") from None
    require(base64.b64encode(ciphertext) == labels[3], "not the one base64 of its bytes")
    return checked(labels[:3], ciphertext)


def checked(labels: list[bytes], ciphertext: bytes) -> Value:
    """Make a value of its parts, if they may be one's."""
    section, key_id, version = labels
    require(bool(re.fullmatch(rb"[a-z][a-z0-9-]{0,31}", section)), "not a section")
    require(bool(re.fullmatch(rb"[\x21-\x7e]{0,512}", key_id)), "not a key id")
    require(bool(re.fullmatch(rb"[A-Za-z0-9._-]{0,64}", version)), "not a version")
    require(1 <= len(ciphertext) <= LARGEST, "not a ciphertext's length")
    return Value(section.decode(), key_id.decode(), version.decode(), ciphertext)


def require(true: bool, otherwise: str) -> None:
    """Refuse what isn't as the format says."""
    if not true:
        raise NotAnEnvelope(otherwise)
