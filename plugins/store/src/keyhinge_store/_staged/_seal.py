"""Digests that only whoever holds the target's key can make or check.

The value that a row holds may be a plaintext, and a plain digest of that would help to guess it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from typing import Any

from keyhinge import (
    NO_CONTEXT,
    Context,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidContextError,
    KeyManager,
)
from keyhinge_store._cells import in_json
from keyhinge_store._layout import Layout, Row

__all__ = ["Seal"]

_SIZE = 32
_MOST_KEYS = 15  # of a context's 16 entries


class Seal:
    """Makes digests of rows, and of what is staged for them.

    Args:
        secret: The key of the digests.
        layout: The table. Another mapping of it makes other digests.
        target: The section that values are staged for.
    """

    def __init__(self, secret: bytes, layout: Layout, target: str) -> None:
        codec = layout.codec
        place = [layout.label, layout.column_label, layout.key, layout.columns]
        context = [layout.bound, layout.bound_columns]
        parts = [target, place, context, codec.encoding, codec.columns]
        self._hmac = hmac.new(secret, json.dumps(parts).encode(), hashlib.sha256)

    @classmethod
    def make(cls, keys: KeyManager, layout: Layout, target: str) -> str:
        """Make a new secret; give it encrypted by the target.

        Raises:
            OperationError: The target can't encrypt.
        """
        plain, *others = _contexts(layout)
        try:
            return keys.encrypt(os.urandom(_SIZE), context=plain, section=target).to_text()
        except InvalidContextError:
            if not others:
                raise
        return keys.encrypt(os.urandom(_SIZE), context=others[0], section=target).to_text()

    @classmethod
    def open(cls, text: str, keys: KeyManager, layout: Layout, target: str) -> Seal:
        """Open what `make` gave.

        Raises:
            OperationError: The target can't decrypt it.
        """
        value = EncryptedValue.from_text(text)
        plain, *others = _contexts(layout)
        try:
            return cls(keys.decrypt(value, context=plain), layout, target)
        except InvalidCiphertextError:
            if not others:
                raise
        return cls(keys.decrypt(value, context=others[0]), layout, target)

    def of_row(self, row: Row) -> str:
        """Give the digest of a row, with everything that a write is guarded with."""
        return self._of("row", [[type(part).__name__, in_json(part)] for part in row])

    def of_staged(self, parts: Sequence[str | None]) -> str:
        """Give the digest of what is staged."""
        return self._of("staged", parts)

    def _of(self, what: str, parts: Any) -> str:
        made = self._hmac.copy()
        made.update(json.dumps([what, parts], default=str).encode())
        return made.hexdigest()

    def __repr__(self) -> str:
        return "<Seal>"


def _contexts(layout: Layout) -> list[Context]:
    """Give the context of the digests' key, and another one for a section that refuses that."""
    # What monetr's own keys can do without, ours must do without in its table, too.
    if not layout.codec.bound:
        return [NO_CONTEXT]
    plain = {"staging": layout.name}
    # An envelope that is partitioned by keys of the rows' contexts takes none without them.
    keys = ("table", "column", *layout.bound)[:_MOST_KEYS]
    return [plain, {**dict.fromkeys(keys, "staging"), **plain}]
