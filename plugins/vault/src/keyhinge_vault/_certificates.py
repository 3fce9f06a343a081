"""When certificates end. Python's own ssl module tells that of no file.

Source: RFC 5280, section 4.1 (where the validity stands), X.690 (DER).
"""

from __future__ import annotations

import re
import ssl
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

__all__ = ["not_after", "not_after_in"]

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_LARGEST = 4 << 20
_SEQUENCE, _INTEGER, _EXPLICIT_0, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0x02, 0xA0, 0x17, 0x18


def not_after(der: bytes) -> datetime | None:
    """Tell when a certificate ends, in UTC; None if it can't be read."""
    with suppress(IndexError, ValueError):
        _, certificate, _ = _element(der)
        _, body, _ = _element(certificate)
        tag, _, rest = _element(body)
        if tag == _EXPLICIT_0:  # the version
            tag, _, rest = _element(rest)
        for expected in (_SEQUENCE, _SEQUENCE):  # behind the serial number: algorithm, issuer
            found, _, rest = _element(rest)
            if (tag, found) != (_INTEGER, expected):
                return None
        _, validity, _ = _element(rest)
        _, _, end = _element(validity)
        return _time(*_element(end)[:2])
    return None


def not_after_in(path: Path | None) -> list[datetime]:
    """Tell when the certificates of a PEM file end, in their order; none if there is no file."""
    text = ""
    if path is not None:
        with suppress(OSError, ValueError), path.open("rb") as file:
            text = file.read(_LARGEST).decode("latin-1")
    ends = []
    for pem in _PEM.findall(text):
        with suppress(ValueError):
            ends.append(not_after(ssl.PEM_cert_to_DER_cert(pem)))
    return [end for end in ends if end is not None]


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Give tag and content of the first element, and what follows it."""
    tag, length, start = der[0], der[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(der[2:start], "big")
    end = start + length
    if end > len(der):
        msg = "cut short"
        raise ValueError(msg)
    return tag, der[start:end], der[end:]


def _time(tag: int, content: bytes) -> datetime | None:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("20" if text < "50" else "19") + text
    elif tag != _GENERALIZED_TIME:
        return None
    # Not strptime: it imports a module of its own, in whatever thread comes first.
    numbers = [int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))]
    year, month, day, hour, minute, second = numbers
    return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
