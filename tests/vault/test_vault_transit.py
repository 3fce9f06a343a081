"""One value through Transit: what is sent, what comes back, and what each failure becomes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import (
    NO_CONTEXT,
    AccessDeniedError,
    Decrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidContextError,
    KeyRef,
    KeyUnavailableError,
    OperationError,
    Sealed,
    UnavailableError,
    encode_context,
)
from keyhinge_vault._provider import MAX_PLAINTEXT

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay

    from keyhinge_vault._provider import VaultProvider

Open = Callable[..., "VaultProvider"]
CONTEXT = {"account": "acct_1"}
ENCODED = base64.b64encode(encode_context(CONTEXT)).decode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def answering(reply: Any, _seen: Any) -> Any:
    return reply


def value_of(sealed: Sealed) -> EncryptedValue:
    return EncryptedValue("vault", sealed.key_id, sealed.version, sealed.ciphertext)


@pytest.fixture(params=["ordinary", "derived"])
def key(request: pytest.FixtureRequest, bao: Bao) -> str:
    """A key of either kind."""
    return bao.key(derived=request.param == "derived")


@pytest.fixture
def provider(bao: Bao, open_provider: Open, key: str) -> VaultProvider:
    """A provider with what an application needs."""
    return open_provider(bao.url, {"keyID": key, "token": bao.token([bao.transit_policy(key)])})


class TestValues:
    def test_what_is_stored(self, bao: Bao, provider: VaultProvider, key: str):
        """Key, version and decoded body: the server opens the text that is rebuilt of them."""
        sealed = provider.keyhinge_encrypt(b"secret", CONTEXT)
        assert (sealed.key_id, sealed.version) == (key, "1")
        field = "context" if provider.key.mode == "context" else "associated_data"
        body = {"ciphertext": f"vault:v1:{b64(sealed.ciphertext)}", field: ENCODED}
        answer = bao.api("POST", f"transit/decrypt/{key}", body)
        assert answer["data"]["plaintext"] == b64(b"secret")

    def test_sizes(self, provider: VaultProvider):
        """Nothing at all, and the largest plaintext."""
        assert provider.capabilities.min_plaintext == 0
        for plaintext in (b"", bytes(MAX_PLAINTEXT)):
            sealed = provider.keyhinge_encrypt(plaintext, CONTEXT)
            assert provider.keyhinge_decrypt(value_of(sealed), CONTEXT) == plaintext

    def test_old_versions_open(self, bao: Bao, provider: VaultProvider, key: str):
        """After a rotation new values have the new version, and the old ones open."""
        old = provider.keyhinge_encrypt(b"old", CONTEXT)
        bao.api("POST", f"transit/keys/{key}/rotate")
        new = provider.keyhinge_encrypt(b"new", CONTEXT)
        assert (old.version, new.version) == ("1", "2")
        assert provider.keyhinge_current_key() == KeyRef(key, "2")
        assert provider.keyhinge_decrypt(value_of(old), CONTEXT) == b"old"
        assert provider.keyhinge_decrypt(value_of(new), CONTEXT) == b"new"

    def test_current_key_where_the_key_may_not_be_read(
        self, bao: Bao, open_provider: Open, key: str
    ):
        bao.api("POST", f"transit/keys/{key}/rotate")
        token = bao.token([bao.transit_policy(key, read=False)])
        provider = open_provider(bao.url, {"keyID": key, "token": token})
        assert provider.keyhinge_current_key() == KeyRef(key, "2")

    def test_other_mount_and_namespace(self, bao: Bao, open_provider: Open):
        namespace = bao.namespace()
        mount = bao.mount("keys/of/app", namespace=namespace)
        key = bao.key(mount=mount, namespace=namespace)
        policy = bao.transit_policy(key, mount=mount, namespace=namespace)
        provider = open_provider(
            bao.url,
            {
                "keyID": key,
                "mount": mount,
                "namespace": namespace,
                "token": bao.token([policy], namespace=namespace),
            },
        )
        sealed = provider.keyhinge_encrypt(b"secret", CONTEXT)
        assert provider.keyhinge_decrypt(value_of(sealed), CONTEXT) == b"secret"

    def test_one_request_each_when_warm(
        self, bao: Bao, relay_to: Callable[[str], Relay], open_provider: Open, key: str
    ):
        """Beside the first use there's no other request."""
        relay = relay_to(bao.url)
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token})
        value = value_of(provider.keyhinge_encrypt(b"secret", CONTEXT))
        provider.keyhinge_decrypt(value, CONTEXT)
        relay.seen.clear()
        for _ in range(5):
            provider.keyhinge_encrypt(b"secret", CONTEXT)
            provider.keyhinge_decrypt(value, CONTEXT)
        assert len(relay.seen) == 10


class TestNoContext:
    """Values that other programs wrote without any context."""

    def made_without(self, bao: Bao, key: str) -> EncryptedValue:
        body = {"plaintext": b64(b"theirs")}
        text = bao.api("POST", f"transit/encrypt/{key}", body)["data"]["ciphertext"]
        return EncryptedValue("vault", key, "1", base64.b64decode(text.rpartition(":")[2]))

    def test_an_ordinary_key(self, bao: Bao, open_provider: Open):
        key = bao.key()
        provider = open_provider(
            bao.url, {"keyID": key, "token": bao.token([bao.transit_policy(key)])}
        )
        theirs = self.made_without(bao, key)
        assert provider.keyhinge_decrypt(theirs, NO_CONTEXT) == b"theirs"
        (opened,) = provider.keyhinge_decrypt_many([Decrypt(theirs, NO_CONTEXT)])
        assert opened == b"theirs"
        for context in ({}, CONTEXT):
            with pytest.raises(InvalidCiphertextError):
                provider.keyhinge_decrypt(theirs, context)
        ours = value_of(provider.keyhinge_encrypt(b"ours", {}))
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(ours, NO_CONTEXT)

    def test_rewrapping_stays_on_the_server(
        self, bao: Bao, relay_to: Callable[[str], Relay], open_provider: Open
    ):
        key, relay = bao.key(), relay_to(bao.url)
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token})
        theirs = self.made_without(bao, key)
        bao.api("POST", f"transit/keys/{key}/rotate")
        provider.keyhinge_decrypt(theirs, NO_CONTEXT)
        relay.seen.clear()
        (again,) = provider.keyhinge_rewrap_many([Decrypt(theirs, NO_CONTEXT)])
        assert [seen.path for seen in relay.seen] == [f"/v1/transit/rewrap/{key}"]
        assert isinstance(again, Sealed)
        assert again.version == "2"
        assert provider.keyhinge_decrypt(value_of(again), NO_CONTEXT) == b"theirs"

    def test_a_derived_key_has_no_such_values(self, bao: Bao, open_provider: Open):
        key = bao.key(derived=True)
        provider = open_provider(
            bao.url, {"keyID": key, "token": bao.token([bao.transit_policy(key)])}
        )
        value = value_of(provider.keyhinge_encrypt(b"x", {}))
        with pytest.raises(InvalidContextError):
            provider.keyhinge_encrypt(b"x", NO_CONTEXT)
        with pytest.raises(InvalidContextError):
            provider.keyhinge_decrypt(value, NO_CONTEXT)
        one, two = provider.keyhinge_decrypt_many([Decrypt(value, NO_CONTEXT), Decrypt(value, {})])
        assert isinstance(one, InvalidContextError)
        assert two == b"x"


class TestFailures:
    """Each misfortune is the right error, and says what to look at."""

    def fails(self, provider: VaultProvider, error: type[OperationError]) -> OperationError:
        with pytest.raises(error) as raised:
            provider.keyhinge_encrypt(b"x", CONTEXT)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None
        assert raised.value.failure is not None
        return raised.value

    @pytest.mark.parametrize("read", [True, False])
    def test_a_key_that_is_not_there(self, bao: Bao, open_provider: Open, read: bool):
        name = bao.name("missing")
        token = bao.token([bao.transit_policy(name, read=read)])
        provider = open_provider(bao.url, {"keyID": name, "token": token})
        error = self.fails(provider, KeyUnavailableError)
        assert error.failure is not None
        assert error.failure.code == "no-key"
        assert not error.retryable

    def test_a_wrong_mount(self, bao: Bao, open_provider: Open):
        token = bao.token([bao.policy({"nowhere/*": ["read", "update"]})])
        provider = open_provider(bao.url, {"keyID": "app", "mount": "nowhere", "token": token})
        error = self.fails(provider, KeyUnavailableError)
        assert "`mount`" in str(error)

    def test_a_wrong_namespace(self, bao: Bao, open_provider: Open):
        key = bao.key()
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(bao.url, {"keyID": key, "namespace": "nope", "token": token})
        error = self.fails(provider, OperationError)
        assert isinstance(error, (AccessDeniedError, KeyUnavailableError))
        assert "nope" in str(error)

    @pytest.mark.parametrize("lacking", ["encrypt", "decrypt"])
    def test_a_missing_right(self, bao: Bao, open_provider: Open, lacking: str):
        """The error has the path and the capability, as the policy wants them."""
        key = bao.key()
        all_rights = open_provider(
            bao.url, {"keyID": key, "token": bao.token([bao.transit_policy(key)])}
        )
        value = value_of(all_rights.keyhinge_encrypt(b"x", CONTEXT))
        can = {"encrypt", "decrypt"} - {lacking}
        token = bao.token([bao.transit_policy(key, can=sorted(can))])
        provider = open_provider(bao.url, {"keyID": key, "token": token})
        call: dict[str, Callable[[], Any]] = {
            "encrypt": lambda: provider.keyhinge_encrypt(b"x", CONTEXT),
            "decrypt": lambda: provider.keyhinge_decrypt(value, CONTEXT),
        }
        with pytest.raises(AccessDeniedError, match=f"update on transit/{lacking}/{key}"):
            call[lacking]()
        call[next(iter(can))]()  # and the other one works

    def test_only_encrypting_without_reading(self, bao: Bao, open_provider: Open, key: str):
        """A writer that may do nothing else finds the mode out as well."""
        token = bao.token([bao.transit_policy(key, can=["encrypt"], read=False)])
        writer = open_provider(bao.url, {"keyID": key, "token": token})
        token = bao.token([bao.transit_policy(key, can=["decrypt"], read=False)])
        reader = open_provider(bao.url, {"keyID": key, "token": token})
        value = value_of(writer.keyhinge_encrypt(b"secret", CONTEXT))
        assert reader.keyhinge_decrypt(value, CONTEXT) == b"secret"

    def test_too_old_a_version(self, bao: Bao, provider: VaultProvider, key: str):
        old = value_of(provider.keyhinge_encrypt(b"x", CONTEXT))
        bao.api("POST", f"transit/keys/{key}/rotate")
        bao.api("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})
        with pytest.raises(KeyUnavailableError, match="min_decryption_version"):
            provider.keyhinge_decrypt(old, CONTEXT)
        (item,) = provider.keyhinge_decrypt_many([Decrypt(old, CONTEXT)])
        assert isinstance(item, KeyUnavailableError)

    def test_a_version_that_the_key_has_not(self, provider: VaultProvider):
        sealed = provider.keyhinge_encrypt(b"x", CONTEXT)
        with pytest.raises(KeyUnavailableError):
            provider.keyhinge_decrypt(value_of(sealed._replace(version="7")), CONTEXT)

    @pytest.mark.parametrize(
        "options",
        [{"derived": True, "convergent_encryption": True}, {"type": "rsa-2048"}],
        ids=["convergent", "rsa"],
    )
    @pytest.mark.parametrize("read", [True, False])
    def test_keys_of_no_use(
        self, bao: Bao, open_provider: Open, options: dict[str, Any], read: bool
    ):
        """Refused before the first value, whether or not the key may be read."""
        key = bao.key(**options)
        token = bao.token([bao.transit_policy(key, read=read)])
        provider = open_provider(bao.url, {"keyID": key, "token": token})
        error = self.fails(provider, OperationError)
        assert not error.retryable
        if read or "derived" in options:
            assert isinstance(error, KeyUnavailableError)


class TestRubbish:
    """Whatever is answered: a typed error, never wrong data and never another exception."""

    SEAL = (
        b"",
        b"[]",
        b"null",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": {}}',
        b'{"data": {"ciphertext": null}}',
        b'{"data": {"ciphertext": 1}}',
        b'{"data": {"ciphertext": "vault:v0:eA=="}}',
        b'{"data": {"ciphertext": "vault:vx:eA=="}}',
        b'{"data": {"ciphertext": "vault:v1:!"}}',
        b'{"data": {"ciphertext": "vault:v1:"}}',
        b'{"data": {"ciphertext": {"a": 1}}}',
        b"<html>",
        b"[" * 100_000,
    )
    OPEN = (
        b'{"data": {"plaintext": null}}',
        b'{"data": {"plaintext": 5}}',
        b'{"data": {"plaintext": "!"}}',
        b'{"data": {"plaintext": "eA"}}',
        b'{"data": {"plaintext": ["eA=="]}}',
        b'{"data": {"ciphertext": "vault:v1:eA=="}}',
    )

    @pytest.mark.parametrize("status", [200, 204])
    def test_answers(
        self, bao: Bao, relay_to: Callable[[str], Relay], open_provider: Open, key: str, status: int
    ):
        relay = relay_to(bao.url)
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token, "retryFor": 0.0})
        value = value_of(provider.keyhinge_encrypt(b"x", CONTEXT))
        for rubbish in self.SEAL:
            content = rubbish if status == 200 else b""
            relay.intercept = partial(answering, (status, {}, content))
            with pytest.raises(UnavailableError):
                provider.keyhinge_encrypt(b"x", CONTEXT)
        for rubbish in (*self.SEAL, *self.OPEN):
            content = rubbish if status == 200 else b""
            relay.intercept = partial(answering, (status, {}, content))
            with pytest.raises(UnavailableError):
                provider.keyhinge_decrypt(value, CONTEXT)

    def test_words_of_a_wrong_ciphertext_where_none_was_sent(
        self, bao: Bao, relay_to: Callable[[str], Relay], open_provider: Open, key: str
    ):
        """They blame no value, neither after a probe, nor after anything else than a decryption."""
        relay = relay_to(bao.url)
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token, "retryFor": 0.0})
        body = b'{"errors": ["could not decode base64: invalid ciphertext"]}'
        relay.intercept = partial(answering, (400, {}, body))
        calls: list[Callable[[], Any]] = [
            lambda: provider.keyhinge_encrypt(b"x", CONTEXT),
            provider.keyhinge_current_key,
        ]
        for asked in ("probes", "values"):
            for call in calls:
                with pytest.raises(OperationError) as raised:
                    call()
                assert not isinstance(raised.value, InvalidCiphertextError), asked
            relay.intercept = lambda seen: None
            value = value_of(provider.keyhinge_encrypt(b"x", CONTEXT))
            relay.intercept = partial(answering, (400, {}, body))
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value, CONTEXT)

    def test_a_warning_that_the_context_was_ignored(
        self, bao: Bao, relay_to: Callable[[str], Relay], open_provider: Open, key: str
    ):
        """As servers say that are older than associated data."""
        relay = relay_to(bao.url)
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token})
        value = value_of(provider.keyhinge_encrypt(b"x", CONTEXT))
        text = "Endpoint ignored these unrecognized parameters: [associated_data]"

        def warn(_: Any, reply: Any) -> Any:
            return reply[0], reply[1], json.dumps({**json.loads(reply[2]), "warnings": [text]})

        relay.alter = lambda seen, reply: (*warn(seen, reply)[:2], warn(seen, reply)[2].encode())
        with pytest.raises(KeyUnavailableError, match="ignores the context"):
            provider.keyhinge_encrypt(b"x", CONTEXT)
        with pytest.raises(KeyUnavailableError, match="ignores the context"):
            provider.keyhinge_decrypt(value, CONTEXT)
        (item,) = provider.keyhinge_decrypt_many([Decrypt(value, CONTEXT)])
        assert isinstance(item, KeyUnavailableError)
