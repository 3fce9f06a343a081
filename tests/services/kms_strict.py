"""moto's server, made to answer as AWS KMS does where moto doesn't.

``python -m tests.services.kms_strict -H HOST -p PORT`` stands in for ``moto_server``. What it adds
to moto, which otherwise stays as it is:

- A key that is disabled refuses with DisabledException, one that is to be deleted or waits for its
  material with KMSInvalidStateException (moto: both go on working). One whose usage isn't
  ENCRYPT_DECRYPT, or that isn't symmetric, refuses with InvalidKeyUsageException.
- Decrypt and ReEncrypt under another key than the ciphertext's are IncorrectKeyException (moto:
  AccessDenied on Decrypt; ReEncrypt ignores SourceKeyId), also where a changed ciphertext names a
  key that there isn't.
- An ARN of another region or account is NotFoundException (moto looks at the id alone).
- A ciphertext is bound to exactly its encryption context (moto joins keys and values without
  bounds, so that `{a: 1, b: 2}` opens with `{a: "1b2"}`).
- Empty and too large values are ValidationException: plaintext 1 to 4,096 bytes, ciphertext 1 to
  6,144. For the context AWS documents no bound; empty keys or values, and more than 8,192 bytes in
  all, are refused here, so that nobody relies on them.
- DryRun does everything but answer: DryRunOperationException, status 412.
- KeyMaterialId and CurrentKeyMaterialId are told, as AWS does for symmetric keys (never by
  Encrypt), and change with a rotation on demand. EncryptionAlgorithm is told.
- The ids of multi-Region keys have AWS's form, `mrk-` and 32 digits, and replicas decrypt each
  other's ciphertexts (moto can't decrypt under such keys at all).
- Users of moto's IAM may do what their policies say; see `kms_policy.py`. Any other access key is
  the account's administrator.
- A key with the tag `throttle` = N refuses its next N requests with ThrottlingException.

Source: AWS KMS API Reference (Encrypt, Decrypt, ReEncrypt, DescribeKey: parameters, errors,
responses); AWS KMS Developer Guide ("Key states of AWS KMS keys", "Encryption context",
"Multi-Region keys").
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.kms import models, responses, utils
from moto.kms.exceptions import NotFoundException, ValidationException
from moto.server import main
from tests.services import kms_policy

MAX_CONTEXT = 8192
_MULTI_REGION = re.compile(r"mrk-[0-9a-f]{32}")
_CONTEXTS = ("EncryptionContext", "SourceEncryptionContext", "DestinationEncryptionContext")
_ALGORITHM = "SYMMETRIC_DEFAULT"
# Which material encrypted a ciphertext: moto's own has no room for it.
_material_of: dict[bytes, str] = {}

Action = Callable[[responses.KmsResponse], str]


class Refusal(JsonRESTError):
    """An error by its code; the status is 400 unless it is another one."""

    def __init__(self, kind: str, status: int = 400) -> None:
        self.code = status
        super().__init__(kind, "")


def be_strict() -> None:
    """Change moto's KMS in this process."""
    utils._serialize_encryption_context = _serialize_context
    models.generate_key_id = _generate_key_id  # type: ignore[attr-defined]
    backend: Any = models.KmsBackend
    for name in ("disable_key", "enable_key", "schedule_key_deletion"):
        setattr(backend, name, _by_any_id(getattr(backend, name)))
    backend.cancel_key_deletion = _by_any_id(backend.cancel_key_deletion, doomed=True)
    backend.replicate_key = _by_any_id(backend.replicate_key)
    response: Any = responses.KmsResponse
    check_id = response._validate_cmk_id
    response._validate_cmk_id = lambda self, key_id: _check_id(self, key_id, check_id)
    response.encrypt = _strict(response.encrypt, _before_encrypt, _after_encrypt)
    response.decrypt = _strict(response.decrypt, _before_decrypt, _after_decrypt)
    response.re_encrypt = _strict(response.re_encrypt, _before_re_encrypt, _after_re_encrypt)
    response.describe_key = _strict(response.describe_key, _before_look, _after_describe)
    status = response.get_key_rotation_status
    response.get_key_rotation_status = _strict(status, _before_look, lambda *_: None)


def _strict(
    action: Action,
    before: Callable[[Any], None],
    after: Callable[[Any, dict[str, Any]], None],
) -> Action:
    def wrapped(self: responses.KmsResponse) -> str:
        _check_values(self)
        before(self)
        answer = json.loads(action(self))
        if self._get_param("DryRun"):
            raise Refusal("DryRunOperationException", 412)
        after(self, answer)
        return json.dumps(answer)

    wrapped.__name__ = action.__name__
    return wrapped


# The actions, before and after moto's own


def _before_encrypt(self: Any) -> None:
    _use(self, "kms:Encrypt", self._get_param("KeyId"), "EncryptionContext")


def _after_encrypt(self: Any, answer: dict[str, Any]) -> None:
    key = _key(self, answer["KeyId"])
    _material_of[base64.b64decode(answer["CiphertextBlob"])] = material(key)
    answer["EncryptionAlgorithm"] = _ALGORITHM


def _before_decrypt(self: Any) -> None:
    blob, named = self._get_param("CiphertextBlob"), self._get_param("KeyId")
    if named:
        _use(self, "kms:Decrypt", named, "EncryptionContext")
        _check_same(self, blob, named)
    elif source := _named_in(self, blob):
        _use(self, "kms:Decrypt", source, "EncryptionContext")


def _after_decrypt(self: Any, answer: dict[str, Any]) -> None:
    blob = self._get_param("CiphertextBlob")
    answer["KeyMaterialId"] = _material_of.get(blob, material(_key(self, answer["KeyId"])))
    answer["EncryptionAlgorithm"] = _ALGORITHM


def _before_re_encrypt(self: Any) -> None:
    blob, named = self._get_param("CiphertextBlob"), self._get_param("SourceKeyId")
    source = named or _named_in(self, blob)
    if source:
        _use(self, "kms:ReEncryptFrom", source, "SourceEncryptionContext")
    destination = self._get_param("DestinationKeyId")
    _use(self, "kms:ReEncryptTo", destination, "DestinationEncryptionContext")
    if named:
        _check_same(self, blob, named)


def _after_re_encrypt(self: Any, answer: dict[str, Any]) -> None:
    blob, made = self._get_param("CiphertextBlob"), base64.b64decode(answer["CiphertextBlob"])
    source, destination = (_key(self, answer[name]) for name in ("SourceKeyId", "KeyId"))
    _material_of[made] = material(destination)
    answer |= {
        "SourceKeyMaterialId": _material_of.get(blob, material(source)),
        "DestinationKeyMaterialId": material(destination),
        "SourceEncryptionAlgorithm": _ALGORITHM,
        "DestinationEncryptionAlgorithm": _ALGORITHM,
    }


def _before_look(self: Any) -> None:
    key_id = self._get_param("KeyId")
    self._validate_key_id(key_id)
    action = self.headers["X-Amz-Target"].rpartition(".")[2]
    kms_policy.check(self, f"kms:{action}", _key(self, key_id), None)


def _after_describe(self: Any, answer: dict[str, Any]) -> None:
    metadata = answer["KeyMetadata"]
    key = _key(self, metadata["Arn"])
    if key.key_spec == _ALGORITHM:
        metadata["CurrentKeyMaterialId"] = material(key)


# What they have in common


def _use(self: Any, action: str, key_id: str, context: str) -> None:
    """See to it that a key may be used: there, allowed, of the right kind, in the right state."""
    self._validate_key_id(key_id)
    key = _key(self, key_id)
    kms_policy.check(self, action, key, self._get_param(context) or {})
    _throttle(self, key)
    if (key.key_spec, key.key_usage or "ENCRYPT_DECRYPT") != (_ALGORITHM, "ENCRYPT_DECRYPT"):
        raise Refusal("InvalidKeyUsageException")
    if key.key_state == "Disabled":
        raise Refusal("DisabledException")
    if key.key_state != "Enabled" or key.origin == "EXTERNAL":  # moto imports no material
        raise Refusal("KMSInvalidStateException")


def _throttle(self: Any, key: models.Key) -> None:
    tagger = self.kms_backend.tagger
    left = int(tagger.get_tag_dict_for_resource(key.id).get("throttle", 0))
    if left > 0:
        tagger.tag_resource(key.id, [{"TagKey": "throttle", "TagValue": str(left - 1)}])
        raise Refusal("ThrottlingException")


def _check_same(self: Any, blob: bytes, named: str) -> None:
    try:
        source = utils._deserialize_ciphertext_blob(blob).key_id
    except Exception:
        return  # moto's own refusal is right
    if source != _key(self, named).id:
        raise Refusal("IncorrectKeyException")


def _named_in(self: Any, blob: bytes) -> str | None:
    """Give the id of the key that a ciphertext names, if there is one."""
    try:
        key_id = utils._deserialize_ciphertext_blob(blob).key_id
    except Exception:
        return None
    return key_id if key_id in self.kms_backend.keys else None


def _check_values(self: Any) -> None:
    given = json.loads(self.body)
    for name, most in (("Plaintext", 4096), ("CiphertextBlob", 6144)):
        if name in given and not 1 <= len(self._get_param(name)) <= most:
            raise ValidationException(f"the length of {name}")
    for name in _CONTEXTS:
        context = given.get(name) or {}
        parts = [part for pair in context.items() for part in pair]
        size = sum(len(part.encode()) for part in parts)
        if not all(parts) or size > MAX_CONTEXT:
            raise ValidationException(f"the length of {name}")


def material(key: models.Key) -> str:
    """Give the id of a key's current material."""
    return hashlib.sha256(f"{key.id} {len(key.rotations)}".encode()).hexdigest()


def _key(self: Any, key_id: str) -> models.Key:
    backend: models.KmsBackend = self.kms_backend
    return backend.keys[backend.any_id_to_key_id(key_id)]


def _serialize_context(encryption_context: dict[str, str]) -> bytes:
    return json.dumps(encryption_context, sort_keys=True).encode()


def _generate_key_id(multi_region: bool = False) -> str:
    key_id = utils.generate_key_id()
    return "mrk-" + key_id.replace("-", "") if multi_region else key_id


def _by_any_id(method: Callable[..., Any], *, doomed: bool = False) -> Callable[..., Any]:
    """Let a method take an ARN, too, and refuse a key that is to be deleted, or isn't."""

    def wrapped(self: models.KmsBackend, key_id: str, *more: Any, **named: Any) -> Any:
        key_id = self.any_id_to_key_id(key_id)
        if doomed != (self.keys[key_id].key_state == "PendingDeletion"):
            raise Refusal("KMSInvalidStateException")
        return method(self, key_id, *more, **named)

    return wrapped


def _check_id(self: Any, key_id: str, check: Callable[[Any, str], None]) -> None:
    if _MULTI_REGION.fullmatch(key_id) and key_id in self.kms_backend.keys:
        return
    check(self, key_id)
    found = _key(self, key_id)
    if key_id not in (found.id, found.arn):
        raise NotFoundException("Invalid arn")


if __name__ == "__main__":
    be_strict()
    main(sys.argv[1:])
