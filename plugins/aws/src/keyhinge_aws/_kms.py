"""The actions of KMS, each answer checked. Results are values or errors, never raised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keyhinge import (
    ClosedError,
    Context,
    Decrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyRef,
    KeyUnavailableError,
    OperationError,
    Sealed,
    UnavailableError,
)
from keyhinge_aws._answers import (
    MAX_CIPHERTEXT,
    MAX_PLAINTEXT,
    MIN_PLAINTEXT,
    PROBE_CONTEXT,
    VERSION,
    Answer,
    Chosen,
    bound,
    not_configured,
    repointed,
    version_of,
    wrong_size,
    wrong_source,
)
from keyhinge_aws._client import Clients
from keyhinge_aws._errors import is_denied, is_incorrect_key, make, translate
from keyhinge_aws._meanings import INCOMPLETE
from keyhinge_aws._quiet import quiet
from keyhinge_aws._target import Target, answers, choose, is_same_key, parse_key_arn

_METHODS = {
    "Encrypt": "encrypt",
    "Decrypt": "decrypt",
    "ReEncrypt": "re_encrypt",
    "DescribeKey": "describe_key",
    "GetKeyRotationStatus": "get_key_rotation_status",
}


class Kms:
    """KMS with the keys of one section.

    Args:
        clients: The section's clients.
        keys: The configured keys; the first one encrypts.
    """

    def __init__(self, clients: Clients, keys: tuple[Target, ...]) -> None:
        self.clients = clients
        self.keys = keys

    @property
    def primary(self) -> Target:
        """The key that encrypts."""
        return self.keys[0]

    def call(
        self, action: str, region: str, parameters: Mapping[str, Any]
    ) -> Answer | OperationError:
        """Make one call.

        Args:
            action: As in `Encrypt`.
            region: Where.
            parameters: What is sent.

        Returns:
            The answer, or our error for whatever went wrong.
        """
        try:
            client = self.clients.kms(region)
            with quiet():
                answer: Answer = getattr(client, _METHODS[action])(**parameters)
            return answer
        except ClosedError as failure:
            return UnavailableError(str(failure))
        except Exception as failure:  # noqa: BLE001 - told apart there
            return translate(failure, f"kms:{action}")

    def home(self) -> str | OperationError:
        """Tell the region of the key that encrypts."""
        try:
            return self.clients.home()
        except ClosedError as failure:
            return UnavailableError(str(failure))
        except OperationError as failure:
            return failure.with_traceback(None)

    def encrypt(self, plaintext: bytes, context: Context) -> Sealed | OperationError:
        """Encrypt one value."""
        if not MIN_PLAINTEXT <= len(plaintext) <= MAX_PLAINTEXT:
            return wrong_size(len(plaintext))
        region = self.home()
        if isinstance(region, OperationError):
            return region
        parameters = {
            "KeyId": self.primary.text,
            "Plaintext": plaintext,
            **bound(context, "EncryptionContext"),
        }
        answer = self.call("Encrypt", region, parameters)
        if isinstance(answer, OperationError):
            return answer
        return self._sealed(answer, region, "Encrypt", "")

    def decrypt(self, value: EncryptedValue, context: Context) -> bytes | OperationError:
        """Decrypt one value, with the configured key that its label means."""
        opened = self.open(value, context)
        return opened if isinstance(opened, OperationError) else opened[0]

    def open(self, value: EncryptedValue, context: Context) -> tuple[bytes, str] | OperationError:
        """Decrypt one value; give the plaintext and the key material's id, where it is told."""
        chosen = self._choose(value)
        if isinstance(chosen, OperationError):
            return chosen
        _, key, region = chosen
        parameters = {
            "KeyId": key.text,
            "CiphertextBlob": value.ciphertext,
            **bound(context, "EncryptionContext"),
        }
        answer = self.call("Decrypt", region, parameters)
        if isinstance(answer, OperationError):
            return self._explained(answer, chosen)
        plaintext, version = answer.get("Plaintext"), version_of(answer, "KeyMaterialId")
        if type(plaintext) is not bytes:
            return make(INCOMPLETE, "kms:Decrypt")
        problem = wrong_source(answer.get("KeyId"), version, value, chosen)
        return (plaintext, version) if problem is None else problem

    def rewrap(self, item: Decrypt) -> Sealed | OperationError:
        """Bring one value under the newest key material of the key that encrypts."""
        region = self.home()
        chosen = self._choose(item.value)
        if isinstance(chosen, OperationError):
            return chosen
        if isinstance(region, OperationError):
            return region
        if chosen[2] != region:
            return self._carry(item)
        parameters = {
            "CiphertextBlob": item.value.ciphertext,
            "SourceKeyId": chosen[1].text,
            "DestinationKeyId": self.primary.text,
            **bound(item.context, "SourceEncryptionContext", "DestinationEncryptionContext"),
        }
        answer = self.call("ReEncrypt", region, parameters)
        if isinstance(answer, OperationError):
            return self._explained(answer, chosen)
        version = version_of(answer, "SourceKeyMaterialId")
        problem = wrong_source(answer.get("SourceKeyId"), version, item.value, chosen)
        if problem is not None:
            return problem
        version = version_of(answer, "DestinationKeyMaterialId")
        return self._sealed(answer, region, "ReEncrypt", version)

    def describe(self, key: Target, region: str) -> Answer | OperationError:
        """Ask for a key's metadata."""
        answer = self.call("DescribeKey", region, {"KeyId": key.text})
        if isinstance(answer, OperationError):
            return answer
        metadata = answer.get("KeyMetadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        arn = metadata.get("Arn")
        found = parse_key_arn(arn) if isinstance(arn, str) else None
        if found is None or not answers(key, found, region):
            return make(INCOMPLETE, "kms:DescribeKey")
        return metadata

    def current(self) -> KeyRef | OperationError:
        """Tell the key that encrypts, and its material's id: by asking, or else by trying."""
        region = self.home()
        if isinstance(region, OperationError):
            return region
        metadata = self.describe(self.primary, region)
        if not isinstance(metadata, OperationError):
            return KeyRef(metadata["Arn"], version_of(metadata, "CurrentKeyMaterialId"))
        if not is_denied(metadata):
            return metadata
        # Who may encrypt and decrypt need not be allowed to describe.
        sealed = self.encrypt(b"keyhinge probe", PROBE_CONTEXT)
        if isinstance(sealed, OperationError):
            return sealed
        value = EncryptedValue("probe", sealed.key_id, "", sealed.ciphertext)
        opened = self.open(value, PROBE_CONTEXT)
        version = "" if isinstance(opened, OperationError) else opened[1]
        return KeyRef(sealed.key_id, version)

    def _choose(self, value: EncryptedValue) -> Chosen | OperationError:
        label = parse_key_arn(value.key_id)
        if label is None or (value.version and not VERSION.fullmatch(value.version)):
            return InvalidCiphertextError()  # nothing that KMS made has such a label
        if len(value.ciphertext) > MAX_CIPHERTEXT:
            return InvalidCiphertextError()
        home = self.home()
        if isinstance(home, OperationError):
            return home
        key = choose(label, self.keys, home)
        if key is None:
            return KeyUnavailableError(not_configured(label))
        return label, key, key.region or home

    def _explained(self, error: OperationError, chosen: Chosen) -> OperationError:
        """Say what it means where KMS says that another key encrypted the value."""
        label, key, region = chosen
        if not is_incorrect_key(error):
            return error
        if key.is_alias:
            metadata = self.describe(key, region)
            known = {} if isinstance(metadata, OperationError) else metadata
            now = parse_key_arn(known.get("Arn", ""))
            if now is None or not is_same_key(now, label):
                return KeyUnavailableError(repointed(label, key), failure=error.failure)
        # The label names the very key that was sent, so it isn't the key that is wrong.
        return InvalidCiphertextError(failure=error.failure)

    def _carry(self, item: Decrypt) -> Sealed | OperationError:
        # ReEncrypt works within one region; between two, the plaintext comes by here.
        opened = self.open(item.value, item.context)
        if isinstance(opened, OperationError):
            return opened
        return self.encrypt(opened[0], item.context)

    def _sealed(
        self, answer: Answer, region: str, action: str, version: str
    ) -> Sealed | OperationError:
        ciphertext, key_id = answer.get("CiphertextBlob"), answer.get("KeyId")
        if type(ciphertext) is not bytes or not ciphertext or type(key_id) is not str:
            return make(INCOMPLETE, f"kms:{action}")
        found = parse_key_arn(key_id)
        if found is None or not answers(self.primary, found, region):
            message = f"kms:{action}: the service used another key than the configured one"
            return OperationError(message)
        return Sealed(ciphertext, key_id, version)
