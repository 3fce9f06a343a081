"""What is believed of a key, for how long, and that no key is made by accident."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import (
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    Sealed,
    UnavailableError,
)
from keyhinge.testing._support import in_threads
from keyhinge_vault._key import EXISTS_SECONDS, PROVEN_SECONDS, Key
from keyhinge_vault._wire import Mode

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay, Seen

    from keyhinge_vault._provider import VaultProvider

Open = Callable[..., "VaultProvider"]
RelayTo = Callable[[str], "Relay"]
CONTEXT = {"account": "acct_1"}
OTHER = {"account": "acct_2"}


def value_of(sealed: Sealed | OperationError) -> EncryptedValue:
    assert isinstance(sealed, Sealed)
    return EncryptedValue("vault", sealed.key_id, sealed.version, sealed.ciphertext)


@pytest.fixture
def relay(bao: Bao, relay_to: RelayTo) -> Relay:
    """The shared server through a proxy that sees each request."""
    return relay_to(bao.url)


def maker(bao: Bao, key: str, *, read: bool = True) -> str:
    """Make a token that may make the key by encrypting, as broad policies allow."""
    rules = {f"transit/encrypt/{key}": ["create", "update"], f"transit/decrypt/{key}": ["update"]}
    if read:
        rules[f"transit/keys/{key}"] = ["read"]
    return bao.token([bao.policy(rules)])


def exists(bao: Bao, key: str) -> bool:
    bao.key()  # an empty list would be a 404
    found = bao.api("LIST", "transit/keys")["data"]["keys"]
    return key in found


def delete(bao: Bao, key: str) -> None:
    bao.api("POST", f"transit/keys/{key}/config", {"deletion_allowed": True})
    bao.api("DELETE", f"transit/keys/{key}")


def later(provider: VaultProvider, seconds: float) -> None:
    """Let time pass for what is believed of the key."""
    provider.key._clock = lambda: time.monotonic() + seconds


class TestNothingIsMade:
    """Encrypting makes a missing key where the token may: ours doesn't let it come to that."""

    @pytest.mark.parametrize("read", [True, False])
    def test_a_missing_key(self, bao: Bao, open_provider: Open, read: bool):
        key = bao.name("never")
        provider = open_provider(bao.url, {"keyID": key, "token": maker(bao, key, read=read)})
        with pytest.raises(KeyUnavailableError):
            provider.keyhinge_encrypt(b"x", CONTEXT)
        (item,) = provider.keyhinge_encrypt_many([Encrypt(b"x", CONTEXT)])
        assert isinstance(item, KeyUnavailableError)
        with pytest.raises(KeyUnavailableError):
            provider.keyhinge_current_key()
        assert not exists(bao, key)

    def test_a_missing_key_that_root_would_make(self, bao: Bao, open_provider: Open):
        key = bao.name("never")
        provider = open_provider(bao.url, {"keyID": key, "token": bao.root_token})
        with pytest.raises(KeyUnavailableError):
            provider.keyhinge_encrypt(b"x", CONTEXT)
        assert not exists(bao, key)

    @pytest.mark.parametrize("read", [True, False])
    @pytest.mark.parametrize("derived", [True, False])
    def test_a_key_that_was_deleted(self, bao: Bao, open_provider: Open, derived: bool, read: bool):
        key = bao.key(derived=derived)
        provider = open_provider(bao.url, {"keyID": key, "token": maker(bao, key, read=read)})
        provider.keyhinge_encrypt(b"x", CONTEXT)
        delete(bao, key)
        later(provider, EXISTS_SECONDS + 1)
        for _ in range(2):
            with pytest.raises(KeyUnavailableError):
                provider.keyhinge_encrypt(b"x", CONTEXT)
        (item,) = provider.keyhinge_encrypt_many([Encrypt(b"x", CONTEXT)])
        assert isinstance(item, KeyUnavailableError)
        assert not exists(bao, key)

    @pytest.mark.parametrize("read", [True, False])
    def test_a_key_that_is_deleted_under_a_batch(
        self, bao: Bao, relay: Relay, open_provider: Open, read: bool
    ):
        """It is looked for before each request, not once for all of them."""
        key = bao.key()
        provider = open_provider(relay.url, {"keyID": key, "token": maker(bao, key, read=read)})
        provider.keyhinge_encrypt(b"x", CONTEXT)
        relay.seen.clear()

        def delete_it(seen: Seen, reply: Any) -> Any:
            if f"/encrypt/{key}" in seen.path and exists(bao, key):
                delete(bao, key)
                later(provider, EXISTS_SECONDS + 1)
            return reply

        relay.alter = delete_it
        results = provider.keyhinge_encrypt_many([Encrypt(b"x", CONTEXT)] * 500)
        assert isinstance(results[0], Sealed)
        assert all(isinstance(result, KeyUnavailableError) for result in results[166:])
        assert relay.count(f"transit/encrypt/{key}") == 1
        assert not exists(bao, key)

    def test_a_key_that_is_deleted_under_a_rewrap(
        self, bao: Bao, relay: Relay, open_provider: Open
    ):
        """Where that is decrypting and encrypting, too."""
        old, key = bao.key(), bao.key()
        rights = {f"transit/{verb}/*": ["create", "update"] for verb in ("encrypt", "decrypt")}
        token = bao.token([bao.policy({**rights, "transit/keys/*": ["read"]})])
        before = open_provider(bao.url, {"keyID": old, "token": token})
        values = [value_of(before.keyhinge_encrypt(b"x", CONTEXT))] * 3
        block = {"keyID": key, "decryptKeyIDs": [old], "token": token}
        provider = open_provider(relay.url, block)
        provider.keyhinge_encrypt(b"x", CONTEXT)

        def delete_it(seen: Seen, reply: Any) -> Any:
            if f"/decrypt/{old}" in seen.path and exists(bao, key):
                delete(bao, key)
                later(provider, EXISTS_SECONDS + 1)
            return reply

        relay.alter = delete_it
        results = provider.keyhinge_rewrap_many([Decrypt(value, CONTEXT) for value in values])
        assert all(isinstance(result, KeyUnavailableError) for result in results)
        assert not exists(bao, key)

    def test_a_key_that_is_deleted_in_an_outage(self, bao: Bao, relay: Relay, open_provider: Open):
        """Trying again is encrypting, too: the look belongs to each attempt."""
        for many in (False, True):
            key = bao.key()
            provider = open_provider(relay.url, {"keyID": key, "token": maker(bao, key)})
            provider.keyhinge_encrypt(b"x", CONTEXT)
            relay.seen.clear()

            def fail(seen: Seen, key: str = key, provider: VaultProvider = provider) -> Any:
                if f"/encrypt/{key}" not in seen.path or relay.count("transit/encrypt") > 1:
                    return None
                delete(bao, key)
                later(provider, EXISTS_SECONDS + 1)
                return 503, {}, b'{"errors": ["Vault is sealed"]}'

            relay.intercept = fail
            if many:
                (item,) = provider.keyhinge_encrypt_many([Encrypt(b"x", CONTEXT)])
                assert isinstance(item, KeyUnavailableError)
            else:
                with pytest.raises(KeyUnavailableError):
                    provider.keyhinge_encrypt(b"x", CONTEXT)
            assert relay.count("transit/encrypt") == 1
            assert not exists(bao, key)

    def test_a_batch_looks_as_often_as_one_value(self, bao: Bao, relay: Relay, open_provider: Open):
        """While what is known is fresh, nothing is asked between its requests."""
        key = bao.key()
        provider = open_provider(relay.url, {"keyID": key, "token": maker(bao, key)})
        provider.key._clock = lambda: 1000.0
        results = provider.keyhinge_encrypt_many([Encrypt(b"x", CONTEXT)] * 1000)
        assert all(isinstance(result, Sealed) for result in results)
        assert relay.count(f"transit/keys/{key}") == 1
        assert relay.count("sys/capabilities-self") == 1

    def test_it_is_looked_for_now_and_then_only(self, bao: Bao, relay: Relay, open_provider: Open):
        key = bao.key()
        provider = open_provider(relay.url, {"keyID": key, "token": maker(bao, key)})
        for _ in range(5):
            provider.keyhinge_encrypt(b"x", CONTEXT)
        assert relay.count(f"transit/keys/{key}") == 1
        later(provider, EXISTS_SECONDS + 1)
        for _ in range(5):
            provider.keyhinge_encrypt(b"x", CONTEXT)
        assert relay.count(f"transit/keys/{key}") == 2
        assert relay.count("sys/capabilities-self") == 1

    def test_where_the_policy_prevents_it_nobody_looks(
        self, bao: Bao, relay: Relay, open_provider: Open
    ):
        """With `update` alone, Transit refuses by itself."""
        key = bao.key()
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token})
        provider.keyhinge_encrypt(b"x", CONTEXT)
        later(provider, EXISTS_SECONDS + 1)
        relay.seen.clear()
        provider.keyhinge_encrypt(b"x", CONTEXT)
        assert [seen.path for seen in relay.seen] == [f"/v1/transit/encrypt/{key}"]
        delete(bao, key)
        # The server says 403, since it would make a key; ours says what it is.
        with pytest.raises(KeyUnavailableError):
            provider.keyhinge_encrypt(b"x", CONTEXT)
        bao.key(key)
        provider.keyhinge_encrypt(b"x", CONTEXT)
        delete(bao, key)
        for item in provider.keyhinge_encrypt_many([Encrypt(b"x", CONTEXT)] * 3):
            assert isinstance(item, KeyUnavailableError)
        assert not exists(bao, key)

    def test_a_policy_that_changes(self, bao: Bao, relay: Relay, open_provider: Open):
        """What the token may do is asked again after a while."""
        key = bao.key()
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token})
        provider.keyhinge_encrypt(b"x", CONTEXT)
        later(provider, PROVEN_SECONDS + 1)
        provider.keyhinge_encrypt(b"x", CONTEXT)
        assert relay.count("sys/capabilities-self") == 2


class TestKeysMadeAnew:
    """A key that was deleted and made again, perhaps as another kind."""

    def bound(self, provider: VaultProvider, sealed: Sealed | OperationError) -> None:
        value = value_of(sealed)
        assert provider.keyhinge_decrypt(value, CONTEXT) == b"secret"
        with pytest.raises(InvalidCiphertextError):
            provider.keyhinge_decrypt(value, OTHER)

    @pytest.fixture
    def key(self, bao: Bao) -> str:
        """A derived key that is at version 2."""
        key = bao.key(derived=True)
        bao.api("POST", f"transit/keys/{key}/rotate")
        return key

    @pytest.fixture
    def provider(self, bao: Bao, key: str, open_provider: Open) -> VaultProvider:
        """A provider that has used the key."""
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(bao.url, {"keyID": key, "token": token})
        assert provider.keyhinge_encrypt(b"x", CONTEXT).version == "2"
        assert provider.key.mode == "context"
        return provider

    def test_a_lower_version_tells(self, bao: Bao, provider: VaultProvider, key: str):
        """An ordinary key would ignore the context that a derived one needs, and say nothing."""
        delete(bao, key)
        bao.key(key)
        self.bound(provider, provider.keyhinge_encrypt(b"secret", CONTEXT))
        assert provider.key.mode == "associated_data"

    def test_a_lower_version_tells_in_a_batch(self, bao: Bao, provider: VaultProvider, key: str):
        delete(bao, key)
        bao.key(key)
        for sealed in provider.keyhinge_encrypt_many([Encrypt(b"secret", CONTEXT)] * 5):
            self.bound(provider, sealed)

    def test_time_tells(self, bao: Bao, provider: VaultProvider, key: str):
        """With as high a version as before, it is found out a few minutes later."""
        delete(bao, key)
        bao.key(key)
        bao.api("POST", f"transit/keys/{key}/rotate")
        later(provider, PROVEN_SECONDS + 1)
        self.bound(provider, provider.keyhinge_encrypt(b"secret", CONTEXT))

    def test_an_ordinary_key_made_anew_as_a_derived_one(self, bao: Bao, open_provider: Open):
        """It says so by itself, and the value is sealed once more."""
        key = bao.key()
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(bao.url, {"keyID": key, "token": token})
        provider.keyhinge_encrypt(b"x", CONTEXT)
        delete(bao, key)
        bao.key(key, derived=True)
        self.bound(provider, provider.keyhinge_encrypt(b"secret", CONTEXT))
        delete(bao, key)
        bao.key(key)
        bao.api("POST", f"transit/keys/{key}/rotate")
        provider.key.forget()
        value = value_of(provider.keyhinge_encrypt(b"secret", CONTEXT))
        delete(bao, key)
        bao.key(key, derived=True)
        (item,) = provider.keyhinge_decrypt_many([Decrypt(value, CONTEXT)])
        assert isinstance(item, OperationError)
        (sealed,) = provider.keyhinge_encrypt_many([Encrypt(b"secret", CONTEXT)])
        self.bound(provider, sealed)

    def test_the_same_for_whoever_may_make_keys(self, bao: Bao, open_provider: Open):
        """There it is found out within seconds, since the key is looked for."""
        key = bao.key(derived=True)
        provider = open_provider(bao.url, {"keyID": key, "token": maker(bao, key)})
        provider.keyhinge_encrypt(b"x", CONTEXT)
        delete(bao, key)
        bao.key(key)
        later(provider, EXISTS_SECONDS + 1)
        self.bound(provider, provider.keyhinge_encrypt(b"secret", CONTEXT))

    @pytest.mark.parametrize("derived", [True, False])
    def test_under_a_batch(self, bao: Bao, relay: Relay, open_provider: Open, derived: bool):
        """The rest is sealed as the new key wants it, and so is what the old one had sealed."""
        key = bao.key(derived=derived)
        provider = open_provider(relay.url, {"keyID": key, "token": maker(bao, key)})
        provider.keyhinge_encrypt(b"x", CONTEXT)
        replaced = False

        def replace(seen: Seen, reply: Any) -> Any:
            nonlocal replaced
            if f"/encrypt/{key}" in seen.path and not replaced:
                replaced = True
                delete(bao, key)
                bao.key(key, derived=not derived)
                later(provider, EXISTS_SECONDS + 1)
            return reply

        relay.alter = replace
        results = provider.keyhinge_encrypt_many([Encrypt(b"secret", CONTEXT)] * 200)
        assert replaced
        for sealed in (results[0], results[199]):
            self.bound(provider, sealed)
        opened = provider.keyhinge_decrypt_many(
            [Decrypt(value_of(sealed), CONTEXT) for sealed in results]
        )
        assert opened == [b"secret"] * 200

    def test_a_node_that_lags_behind(self, bao: Bao, relay: Relay, open_provider: Open):
        """Versions that go to and fro are no failure: the key is looked at anew, that's all."""
        key = bao.key()
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token})
        texts = iter(["3", "2", "3", "2", "2", "3", "1", "1", "3", "2", "3", "2"])

        def lag(seen: Seen, reply: Any) -> Any:
            if not seen.path.endswith(f"encrypt/{key}") or b"batch_input" in seen.body:
                return reply
            content = {"data": {"ciphertext": f"vault:v{next(texts)}:eA=="}}
            return 200, {}, json.dumps(content).encode()

        relay.alter = lag
        assert all(provider.keyhinge_encrypt(b"x", CONTEXT) for _ in range(6))


class TestProof:
    """A server that ignores what binds the context is found out before the first value."""

    @pytest.fixture
    def deaf(self, relay: Relay) -> Relay:
        """A server that drops what it doesn't know, and says nothing."""

        def strip(seen: Seen) -> Any:
            body = seen.json
            if seen.method == "POST" and body:
                for item in (body, *body.get("batch_input", ())):
                    item.pop("associated_data", None)
                    if "context" in item:
                        item["context"] = "eA=="
                return relay.pass_on(seen._replace(body=json.dumps(body).encode()))
            return None

        relay.intercept = strip
        return relay

    @pytest.mark.parametrize("derived", [True, False])
    def test_ignored(self, bao: Bao, deaf: Relay, open_provider: Open, derived: bool):
        key = bao.key(derived=derived)
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(deaf.url, {"keyID": key, "token": token})
        for _ in range(2):
            with pytest.raises(KeyUnavailableError, match="ignores the context"):
                provider.keyhinge_encrypt(b"secret", CONTEXT)
        (item,) = provider.keyhinge_encrypt_many([Encrypt(b"secret", CONTEXT)])
        assert isinstance(item, KeyUnavailableError)
        assert not any(b"c2VjcmV0" in seen.body for seen in deaf.seen), "a value was sent"

    def test_proven_once(self, bao: Bao, relay: Relay, open_provider: Open):
        """An ordinary key for good, a derived one for some minutes."""
        for derived, proofs in ((False, 1), (True, 2)):
            key = bao.key(derived=derived)
            token = bao.token([bao.transit_policy(key)])
            provider = open_provider(relay.url, {"keyID": key, "token": token})
            value = value_of(provider.keyhinge_encrypt(b"x", CONTEXT))
            later(provider, PROVEN_SECONDS + 1)
            provider.keyhinge_decrypt(value, CONTEXT)
            assert relay.count(f"transit/keys/{key}") == proofs

    def test_threads_that_begin_together_prove_once(
        self, bao: Bao, relay: Relay, open_provider: Open
    ):
        key = bao.key(derived=True)
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token})

        def work(_number: int) -> None:
            provider.keyhinge_encrypt(b"x", CONTEXT)

        assert in_threads(32, work) == []
        assert relay.count(f"transit/keys/{key}") == 1
        assert relay.count(f"transit/encrypt/{key}") == 33

    @pytest.mark.parametrize("derived", [True, False])
    def test_a_key_that_is_replaced_under_a_proof(
        self, bao: Bao, relay: Relay, open_provider: Open, derived: bool
    ):
        """Then what doesn't open is the proof's own value: nothing is wrong with the caller's."""
        key = bao.key(derived=derived)
        token = bao.token([bao.transit_policy(key)])
        value = value_of(
            open_provider(bao.url, {"keyID": key, "token": token}).keyhinge_encrypt(b"x", CONTEXT)
        )
        provider = open_provider(relay.url, {"keyID": key, "token": token})

        def replace(seen: Seen, reply: Any) -> Any:
            if f"/encrypt/{key}" in seen.path:
                delete(bao, key)
                bao.key(key, derived=derived)
            return reply

        relay.alter = replace
        calls: list[Callable[[], Any]] = [
            lambda: provider.keyhinge_decrypt(value, CONTEXT),
            lambda: provider.keyhinge_encrypt(b"x", CONTEXT),
        ]
        for call in calls:
            with pytest.raises(UnavailableError) as raised:
                call()
            assert raised.value.retryable
            assert f"update on transit/decrypt/{key}" in str(raised.value)
        (opened,) = provider.keyhinge_decrypt_many([Decrypt(value, CONTEXT)])
        assert isinstance(opened, UnavailableError)
        relay.alter = lambda _, reply: reply
        provider.keyhinge_encrypt(b"x", CONTEXT)

    def test_an_outage_is_not_a_verdict(self, bao: Bao, relay: Relay, open_provider: Open):
        key = bao.key()
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token, "retryFor": 0.0})
        relay.intercept = lambda seen: "drop"
        with pytest.raises(OperationError) as raised:
            provider.keyhinge_encrypt(b"x", CONTEXT)
        assert raised.value.retryable
        relay.intercept = lambda seen: None
        provider.keyhinge_encrypt(b"x", CONTEXT)


class TestBlindly:
    """Keys that may not be read."""

    @pytest.mark.parametrize("derived", [True, False])
    @pytest.mark.parametrize(("versions", "oldest"), [(1, 1), (3, 2), (20, 13), (20, 20)])
    def test_mode(self, bao: Bao, open_provider: Open, derived: bool, versions: int, oldest: int):
        """It is found whatever versions are open, and wherever the search begins."""
        key = bao.key(derived=derived)
        for _ in range(versions - 1):
            bao.api("POST", f"transit/keys/{key}/rotate")
        bao.api("POST", f"transit/keys/{key}/config", {"min_decryption_version": oldest})
        token = bao.token([bao.transit_policy(key, read=False)])
        expected: Mode = "context" if derived else "associated_data"
        for begin in ("1", "7", "20", "999999999"):
            provider = open_provider(bao.url, {"keyID": key, "token": token})
            patience = provider.session.patience()
            assert provider.keys.mode(provider.key, patience, version=begin) == expected


class TestSeveralKeys:
    def test_one_keys_verdict_is_not_anothers(self, bao: Bao, relay: Relay, open_provider: Open):
        """Keys of both kinds in one section, used by many threads: each gets its own field."""
        kinds = {bao.key(derived=bool(n % 2)): bool(n % 2) for n in range(6)}
        names = list(kinds)
        values = {}
        for name in names:
            token = bao.token([bao.transit_policy(name)])
            own = open_provider(bao.url, {"keyID": name, "token": token})
            values[name] = value_of(own.keyhinge_encrypt(name.encode(), CONTEXT))
        token = bao.token([bao.transit_policy(name) for name in names])
        block = {"keyID": names[0], "decryptKeyIDs": names[1:], "token": token}
        provider = open_provider(relay.url, block)

        def work(number: int) -> None:
            order = names[number % 6 :] + names[: number % 6]
            for name in order:
                assert provider.keyhinge_decrypt(values[name], CONTEXT) == name.encode()
            items = [Decrypt(values[name], CONTEXT) for name in order]
            assert provider.keyhinge_decrypt_many(items) == [name.encode() for name in order]
            provider.keyhinge_encrypt(b"x", CONTEXT)

        assert in_threads(16, work) == []
        for seen in relay.seen:
            verb, _, name = seen.path.removeprefix("/v1/transit/").partition("/")
            if verb not in {"encrypt", "decrypt"}:
                continue
            right, wrong = ("context", "associated_data")[:: 1 if kinds[name] else -1]
            for item in seen.json.get("batch_input", [seen.json]):
                assert right in item
                assert wrong not in item

    def test_a_bad_key_beside_a_good_one(self, bao: Bao, open_provider: Open):
        """What is wrong with an old key doesn't keep the others from working."""
        good, bad = bao.key(), bao.key(derived=True, convergent_encryption=True)
        gone = bao.name("gone")
        token = bao.token([bao.transit_policy(name) for name in (good, bad, gone)])
        block = {"keyID": good, "decryptKeyIDs": [bad, gone], "token": token}
        provider = open_provider(bao.url, block)
        value = value_of(provider.keyhinge_encrypt(b"x", CONTEXT))
        items = [
            Decrypt(EncryptedValue("vault", name, "1", value.ciphertext), CONTEXT)
            for name in (bad, good, gone)
        ]
        first, second, third = provider.keyhinge_decrypt_many(items)
        assert isinstance(first, KeyUnavailableError)
        assert second == b"x"
        assert isinstance(third, KeyUnavailableError)


class TestKey:
    """The book-keeping by itself."""

    def test_a_proof_that_came_too_late(self):
        """What was forgotten while a proof was under way isn't taken from that proof."""
        key = Key("app", "transit", time.monotonic)
        generation = key.generation
        key.forget()
        key.learned("context", generation)
        assert key.mode is None
        key.learned("context", key.generation)
        assert key.proven == "context"

    def test_versions(self):
        key = Key("app", "transit", time.monotonic)
        key.learned("associated_data", key.generation)
        assert [key.saw(version) for version in ("2", "2", "10")] == [True] * 3
        assert key.highest == 10
        assert not key.saw("9")
        assert key.mode is None
        assert key.saw("9")
