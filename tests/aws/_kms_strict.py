"""moto's server, made to answer as KMS does where moto doesn't. Run it in place of `moto_server`.

- Decrypt under another key than the ciphertext's is IncorrectKeyException (moto: AccessDenied),
  also where a changed ciphertext names a key that there isn't.

Source: AWS KMS API Reference, "Decrypt".
"""

from __future__ import annotations

import sys
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.kms import models, utils
from moto.server import main


class IncorrectKeyError(JsonRESTError):
    """The ciphertext isn't of the key that was named."""

    code = 400

    def __init__(self) -> None:
        super().__init__("IncorrectKeyException", "")


def be_strict() -> None:
    """Change moto's KMS in this process."""
    decrypt = models.KmsBackend.decrypt

    def strict_decrypt(
        self: Any,
        ciphertext_blob: bytes,
        encryption_context: dict[str, str],
        key_id: str | None = None,
    ) -> tuple[bytes, str]:
        if key_id is not None:
            try:
                named = utils._deserialize_ciphertext_blob(ciphertext_blob).key_id
            except Exception:
                named = None  # moto's own refusal is right
            if named is not None and named != self.any_id_to_key_id(key_id):
                raise IncorrectKeyError
        return decrypt(self, ciphertext_blob, encryption_context, key_id)

    models.KmsBackend.decrypt = strict_decrypt  # type: ignore[method-assign]


if __name__ == "__main__":
    be_strict()
    main(sys.argv[1:])
