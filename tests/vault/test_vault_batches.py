"""Batches: cut to what the server takes, each item with its own answer, one bound in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import (
    NO_CONTEXT,
    AccessDeniedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidContextError,
    OperationError,
    Sealed,
    ThrottledError,
    UnavailableError,
)

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay, Seen

    from keyhinge_vault._provider import VaultProvider

Open = Callable[..., "VaultProvider"]
RelayTo = Callable[[str], "Relay"]
CONTEXT = {"account": "acct_1"}


def answering(reply: Any, _seen: Any) -> Any:
    return reply


def values_of(results: Any) -> list[EncryptedValue]:
    assert all(isinstance(result, Sealed) for result in results)
    return [EncryptedValue("vault", x.key_id, x.version, x.ciphertext) for x in results]


def numbered(count: int) -> list[Encrypt]:
    return [Encrypt(b"%d" % n, {"row": f"{n}"}) for n in range(count)]


def to_open(values: list[EncryptedValue]) -> list[Decrypt]:
    return [Decrypt(value, {"row": f"{n}"}) for n, value in enumerate(values)]


def batches(relay: Relay, verb: str) -> list[Seen]:
    return [
        seen
        for seen in relay.seen
        if seen.path.startswith(f"/v1/transit/{verb}/") and b"batch_input" in seen.body
    ]


@pytest.fixture
def relay(bao: Bao, relay_to: RelayTo) -> Relay:
    """The shared server through a proxy that sees each request."""
    return relay_to(bao.url)


@pytest.fixture(params=["ordinary", "derived"])
def key(request: pytest.FixtureRequest, bao: Bao) -> str:
    """A key of either kind."""
    return bao.key(derived=request.param == "derived")


@pytest.fixture
def provider(bao: Bao, relay: Relay, open_provider: Open, key: str) -> VaultProvider:
    """A provider that has used its key already, so that only what follows is counted."""
    token = bao.token([bao.transit_policy(key)])
    provider = open_provider(relay.url, {"keyID": key, "token": token, "retryFor": 0.0})
    provider.keyhinge_encrypt(b"x", {})
    relay.seen.clear()
    return provider


class TestSizes:
    def test_a_thousand(self, provider: VaultProvider, relay: Relay):
        """In order, and in few requests: one of them asks for too much, to learn the limit."""
        values = values_of(provider.keyhinge_encrypt_many(numbered(1000)))
        assert len(batches(relay, "encrypt")) == 8
        opened = provider.keyhinge_decrypt_many(to_open(values))
        assert opened == [b"%d" % n for n in range(1000)]
        relay.seen.clear()
        provider.keyhinge_decrypt_many(to_open(values))
        assert len(relay.seen) == 7, "the limit isn't remembered"

    def test_without_context_more_fit(self, bao: Bao, relay: Relay, open_provider: Open):
        key = bao.key()
        token = bao.token([bao.transit_policy(key)])
        provider = open_provider(relay.url, {"keyID": key, "token": token})
        items = [Encrypt(b"%d" % n, NO_CONTEXT) for n in range(249)]
        values = values_of(provider.keyhinge_encrypt_many(items))
        opened = provider.keyhinge_decrypt_many([Decrypt(v, NO_CONTEXT) for v in values])
        assert opened == [item.plaintext for item in items]
        assert len(batches(relay, "encrypt")) == 2  # one of them is the proof

    @pytest.mark.parametrize(
        ("listener", "most"),
        [("max_request_json_strings = 20000\nmax_request_json_memory = 100000000", 16), ("", 62)],
        ids=["generous", "default"],
    )
    def test_a_generous_server_is_used(
        self,
        start_bao: Callable[..., Bao],
        relay_to: RelayTo,
        open_provider: Open,
        listener: str,
        most: int,
    ):
        """What passed is doubled, until the server refuses."""
        bao = start_bao("inmem", listener=listener)
        relay, key = relay_to(bao.url), bao.key()
        provider = open_provider(relay.url, {"keyID": key, "token": bao.root_token})
        results = provider.keyhinge_encrypt_many(numbered(10_000))
        assert len(values_of(results)) == 10_000
        assert len(batches(relay, "encrypt")) - 1 <= most

    @pytest.mark.parametrize(
        "listener",
        [
            "max_request_json_strings = 50",
            "max_request_size = 1048576",
            "max_request_json_memory = 1000000",
        ],
    )
    def test_a_mean_server_is_served(
        self,
        start_bao: Callable[..., Bao],
        relay_to: RelayTo,
        open_provider: Open,
        listener: str,
    ):
        """Batches are halved when it refuses; both bounds are remembered by themselves."""
        bao = start_bao("inmem", listener=listener)
        relay, key = relay_to(bao.url), bao.key()
        provider = open_provider(relay.url, {"keyID": key, "token": bao.root_token})
        large = [Encrypt(bytes([n]) * 50_000, CONTEXT) for n in range(60)]
        values = values_of(provider.keyhinge_encrypt_many(large))
        opened = provider.keyhinge_decrypt_many([Decrypt(v, CONTEXT) for v in values])
        assert opened == [item.plaintext for item in large]
        relay.seen.clear()
        provider.keyhinge_encrypt_many(large)
        first = len(relay.seen)
        values_of(provider.keyhinge_encrypt_many(numbered(166)))
        small = len(relay.seen) - first
        assert small <= (24 if "strings" in listener else 2)

    def test_one_item_that_is_too_large_fails_alone(
        self, start_bao: Callable[..., Bao], open_provider: Open
    ):
        bao = start_bao("inmem", listener="max_request_size = 1048576")
        key = bao.key()
        provider = open_provider(bao.url, {"keyID": key, "token": bao.root_token})
        items = numbered(300)
        items[200] = Encrypt(bytes(2_000_000), CONTEXT)
        results = provider.keyhinge_encrypt_many(items)
        failed = [n for n, result in enumerate(results) if not isinstance(result, Sealed)]
        assert failed == [200]
        error = results[200]
        assert isinstance(error, OperationError)
        assert error.failure is not None
        assert error.failure.code == "too-large"
        assert not error.retryable

    def test_one_item_that_is_too_large_leaves_the_others_together(
        self, start_bao: Callable[..., Bao], relay_to: RelayTo, open_provider: Open
    ):
        """What the server refused for one value's sake isn't a limit of later batches."""
        bao = start_bao("inmem", listener="max_request_size = 1048576")
        relay, key = relay_to(bao.url), bao.key()
        provider = open_provider(relay.url, {"keyID": key, "token": bao.root_token})
        provider.keyhinge_encrypt_many(numbered(300))
        relay.seen.clear()
        provider.keyhinge_encrypt_many(numbered(300))
        usual = len(relay.seen)
        items = numbered(300)
        for place in (0, 150, 299):
            items[place] = Encrypt(bytes(2_000_000), CONTEXT)
        results = provider.keyhinge_encrypt_many(items)
        failed = [n for n, result in enumerate(results) if not isinstance(result, Sealed)]
        assert failed == [0, 150, 299]
        for verb in ("again", "and again"):
            relay.seen.clear()
            values_of(provider.keyhinge_encrypt_many(numbered(300)))
            assert len(relay.seen) <= usual, verb

    @pytest.mark.parametrize("message", ["JSON string exceeds allowed maximum length", ""])
    def test_a_string_that_is_too_long(self, provider: VaultProvider, relay: Relay, message: str):
        """As newer versions of Vault refuse one, and a proxy before any of them."""
        provider.keyhinge_encrypt_many(numbered(160))
        relay.seen.clear()
        provider.keyhinge_encrypt_many(numbered(160))
        usual = len(relay.seen)

        def refuse(seen: Seen) -> Any:
            if max(len(item.get("plaintext", "")) for item in seen.json["batch_input"]) < 5000:
                return None
            body = json.dumps({"errors": [message]}).encode() if message else b"<html>"
            return (400 if message else 413), {}, body

        relay.intercept = refuse
        items = numbered(160)
        items[77] = Encrypt(bytes(5000), CONTEXT)
        results = provider.keyhinge_encrypt_many(items)
        failed = [n for n, result in enumerate(results) if not isinstance(result, Sealed)]
        assert failed == [77]
        error = results[77]
        assert isinstance(error, OperationError)
        assert error.failure is not None
        assert error.failure.code == "too-large"
        relay.seen.clear()
        values_of(provider.keyhinge_encrypt_many(numbered(160)))
        assert len(relay.seen) == usual

    def test_large_values(self, provider: VaultProvider):
        """More than any request takes in all."""
        items = [Encrypt(bytes([n]) * (5 << 20), CONTEXT) for n in range(9)]
        values = values_of(provider.keyhinge_encrypt_many(items))
        opened = provider.keyhinge_decrypt_many([Decrypt(value, CONTEXT) for value in values])
        assert opened == [item.plaintext for item in items]

    def test_nothing(self, provider: VaultProvider, relay: Relay):
        assert list(provider.keyhinge_encrypt_many([])) == []
        assert list(provider.keyhinge_decrypt_many([])) == []
        assert list(provider.keyhinge_rewrap_many([])) == []
        assert relay.seen == []


class TestItems:
    def test_each_has_its_own_error(self, provider: VaultProvider, key: str):
        values = values_of(provider.keyhinge_encrypt_many(numbered(7)))
        items = to_open(values)
        body = items[1].value.ciphertext
        items[1] = Decrypt(EncryptedValue("vault", key, "1", body[:-1]), items[1].context)
        items[2] = Decrypt(items[2].value, {"row": "3"})
        items[3] = Decrypt(EncryptedValue("vault", key, "01", body), items[3].context)
        items[4] = Decrypt(EncryptedValue("vault", "strange", "1", body), items[4].context)
        items[5] = Decrypt(EncryptedValue("vault", key, "9", body), items[5].context)
        results = provider.keyhinge_decrypt_many(items)
        assert (results[0], results[6]) == (b"0", b"6")
        for index in (1, 2, 3):
            assert isinstance(results[index], InvalidCiphertextError)
        errors = [result for result in results if isinstance(result, OperationError)]
        assert len({id(error) for error in errors}) == 5
        for error in errors:
            assert error.__traceback__ is None
            assert error.__context__ is None
            assert error.__cause__ is None
        assert "decryptKeyIDs" in str(results[4])

    def test_a_context_that_breaks_a_rule_fails_alone(self, provider: VaultProvider):
        one, two = provider.keyhinge_encrypt_many([Encrypt(b"x", {"": "x"}), Encrypt(b"y", {})])
        assert isinstance(one, InvalidContextError)
        assert isinstance(two, Sealed)

    def test_denied(self, bao: Bao, relay: Relay, open_provider: Open, key: str):
        """What the policy forbids fails at once, and not once for each request of the batch."""
        token = bao.token([bao.transit_policy(key, can=["decrypt"])])
        provider = open_provider(relay.url, {"keyID": key, "token": token})
        results = provider.keyhinge_encrypt_many(numbered(2000))
        assert len(results) == 2000
        assert all(isinstance(result, AccessDeniedError) for result in results)
        assert f"update on transit/encrypt/{key}" in str(results[1999])
        assert len(relay.seen) < 15


class TestRubbish:
    """An answer counts only if it is one to this very request."""

    def changed(self, relay: Relay, verb: str, change: Callable[[list[Any]], Any]) -> None:
        def alter(seen: Seen, reply: Any) -> Any:
            if f"/transit/{verb}/" not in seen.path:
                return reply
            body = json.loads(reply[2])
            body["data"]["batch_results"] = change(body["data"]["batch_results"])
            return reply[0], reply[1], json.dumps(body).encode()

        relay.alter = alter

    @pytest.mark.parametrize(
        "change",
        [
            lambda results: list(reversed(results)),
            lambda results: results[1:] + results[:1],
            lambda results: results[:-1],
            lambda results: results + results[-1:],
            lambda results: results[:-1] + results[:1],
            lambda results: [*results[:2], None, *results[3:]],
            lambda results: [*results[:2], "x", *results[3:]],
            lambda results: [],
            lambda results: None,
            lambda results: {"0": results},
            lambda results: 5,
            lambda results: [{**result, "reference": None} for result in results],
            lambda results: [{**result, "reference": "0"} for result in results],
            lambda results: [{k: v for k, v in x.items() if k != "reference"} for x in results],
        ],
    )
    def test_whole_answers(self, provider: VaultProvider, relay: Relay, change: Any):
        values = values_of(provider.keyhinge_encrypt_many(numbered(5)))
        for verb, call in (
            ("encrypt", lambda: provider.keyhinge_encrypt_many(numbered(5))),
            ("decrypt", lambda: provider.keyhinge_decrypt_many(to_open(values))),
        ):
            self.changed(relay, verb, change)
            results = call()
            assert len(results) == 5
            assert all(isinstance(result, OperationError) for result in results), results

    def test_an_answer_to_an_earlier_request(self, provider: VaultProvider, relay: Relay):
        """As a proxy may send that mixes up connections."""
        values = values_of(provider.keyhinge_encrypt_many(numbered(5)))
        kept: list[Any] = []

        def keep(_: Seen, reply: Any) -> Any:
            kept.append(reply)
            return reply

        relay.alter = keep
        provider.keyhinge_decrypt_many(to_open(values)[::-1])
        relay.alter = lambda _, reply: kept[0]
        results = provider.keyhinge_decrypt_many(to_open(values))
        assert all(isinstance(result, UnavailableError) for result in results)

    @pytest.mark.parametrize(
        "item",
        [
            {},
            {"plaintext": None},
            {"plaintext": 7},
            {"plaintext": "!"},
            {"plaintext": ["MQ=="]},
            {"ciphertext": None},
            {"ciphertext": "vault:v1"},
            {"ciphertext": "vault:v0:eA=="},
            {"ciphertext": "vault:v1x:eA=="},
            {"ciphertext": {"a": "b"}},
            {"error": 5},
            {"error": {"a": "b"}, "plaintext": "MQ=="},
            {"error": "boom", "plaintext": "MQ==", "ciphertext": "vault:v1:eA=="},
        ],
    )
    def test_one_item(self, provider: VaultProvider, relay: Relay, item: dict[str, Any]):
        """The others are what they were."""
        values = values_of(provider.keyhinge_encrypt_many(numbered(5)))

        def change(results: list[Any]) -> list[Any]:
            return [
                {**item, "reference": x["reference"]} if n == 2 else x
                for n, x in enumerate(results)
            ]

        self.changed(relay, "decrypt", change)
        opened = provider.keyhinge_decrypt_many(to_open(values))
        assert isinstance(opened[2], OperationError)
        assert [x for n, x in enumerate(opened) if n != 2] == [b"0", b"1", b"3", b"4"]
        self.changed(relay, "encrypt", change)
        sealed = provider.keyhinge_encrypt_many(numbered(5))
        assert [n for n, x in enumerate(sealed) if not isinstance(x, Sealed)] == [2]

    def test_a_whole_request_that_reads_like_a_wrong_value(
        self, provider: VaultProvider, relay: Relay
    ):
        """It is none where values are sealed, nor where it could be any of several."""
        values = values_of(provider.keyhinge_encrypt_many(numbered(3)))
        body = b'{"errors": ["cipher: message authentication failed"]}'
        relay.intercept = partial(answering, (400, {}, body))
        for count in (1, 3):
            sealed = provider.keyhinge_encrypt_many(numbered(count))
            opened = provider.keyhinge_decrypt_many(to_open(values[:count]))
            for result in (*sealed, *opened):
                assert isinstance(result, OperationError)
                assert result.failure is not None
                wrong = count == 1 and result in opened
                assert result.failure.code == ("ciphertext" if wrong else "bad-request")

    def test_an_item_that_is_sealed_has_no_wrong_ciphertext(
        self, provider: VaultProvider, relay: Relay
    ):
        def change(results: list[Any]) -> list[Any]:
            return [{**results[0], "error": "could not decode ciphertext"}, *results[1:]]

        self.changed(relay, "encrypt", change)
        one, two = provider.keyhinge_encrypt_many(numbered(2))
        assert isinstance(one, OperationError)
        assert not isinstance(one, InvalidCiphertextError)
        assert isinstance(two, Sealed)

    def test_no_json_at_all(self, provider: VaultProvider, relay: Relay):
        for content in (b"", b"<html>", b"[]", b"null", b'{"data": []}', b'{"errors": []}'):
            for status in (200, 400):
                relay.intercept = partial(answering, (status, {}, content))
                results = provider.keyhinge_encrypt_many(numbered(3))
                assert all(isinstance(result, OperationError) for result in results)


class TestTime:
    """One bound in time for all, however many requests a batch is."""

    def test_an_outage(self, provider: VaultProvider, relay: Relay):
        """Tried anew for a second in all: not once a request, and never once an item."""
        object.__setattr__(provider.session.connection.server, "retry_for", 1.0)
        relay.intercept = lambda seen: "drop"
        results = provider.keyhinge_encrypt_many(numbered(5000))
        assert len(results) == 5000
        assert all(isinstance(result, UnavailableError) for result in results)
        assert all(result.retryable for result in results if isinstance(result, OperationError))
        assert len(relay.seen) < 20

    def test_an_outage_under_way(self, provider: VaultProvider, relay: Relay):
        """What was done stays done."""
        count = 0

        def fail(seen: Seen) -> Any:
            nonlocal count
            count += b"batch_input" in seen.body
            return (503, {}, b'{"errors": ["Vault is sealed"]}') if count > 3 else None

        relay.intercept = fail
        results = provider.keyhinge_encrypt_many(numbered(1000))
        done = sum(isinstance(result, Sealed) for result in results)
        assert done == 332  # of three requests one asked for too much
        assert all(isinstance(result, Sealed) for result in results[:done])
        assert all(isinstance(result, UnavailableError) for result in results[done:])
        assert count == 4

    def test_an_outage_with_several_keys(self, bao: Bao, relay: Relay, open_provider: Open):
        names = [bao.key() for _ in range(4)]
        token = bao.token([bao.transit_policy(name) for name in names])
        block = {"keyID": names[0], "decryptKeyIDs": names[1:], "token": token, "retryFor": 1.0}
        provider = open_provider(relay.url, block)
        relay.intercept = lambda seen: (429, {}, b'{"errors": ["too many"]}')
        items = [Decrypt(EncryptedValue("vault", names[n % 4], "1", b"x"), {}) for n in range(40)]
        results = provider.keyhinge_decrypt_many(items)
        assert all(isinstance(result, ThrottledError) for result in results)
        assert len(relay.seen) < 25

    def test_a_short_one(self, provider: VaultProvider, relay: Relay):
        """Nobody sees one that ends in time."""
        object.__setattr__(provider.session.connection.server, "retry_for", 10.0)
        count = 0

        def fail(_: Seen) -> Any:
            nonlocal count
            count += 1
            return (429, {"Retry-After": "0"}, b"{}") if count % 2 else None

        relay.intercept = fail
        values = values_of(provider.keyhinge_encrypt_many(numbered(400)))
        assert provider.keyhinge_decrypt_many(to_open(values)) == [b"%d" % n for n in range(400)]


class TestRewrap:
    def rewrapped(self, bao: Bao, provider: VaultProvider, relay: Relay, count: int) -> set[str]:
        """Rewrap values; give the verbs of the batches that it took."""
        values = values_of(provider.keyhinge_encrypt_many(numbered(count)))
        bao.api("POST", f"transit/keys/{provider.key.name}/rotate")
        relay.seen.clear()
        again = values_of(provider.keyhinge_rewrap_many(to_open(values)))
        assert {value.version for value in again} == {"2"}
        verbs = {seen.path.split("/")[3] for seen in relay.seen}
        assert provider.keyhinge_decrypt_many(to_open(again)) == [b"%d" % n for n in range(count)]
        (wrong,) = provider.keyhinge_decrypt_many([Decrypt(again[0], {"row": "1"})])
        assert isinstance(wrong, InvalidCiphertextError)
        return verbs

    def test_in_batches(self, bao: Bao, provider: VaultProvider, relay: Relay):
        """On the server for derived keys; it takes no associated data."""
        verbs = self.rewrapped(bao, provider, relay, 400)
        derived = provider.key.mode == "context"
        assert verbs == ({"rewrap"} if derived else {"decrypt", "encrypt"})

    def test_a_wrong_context(self, provider: VaultProvider):
        """A value isn't rewrapped under any context but its own."""
        values = values_of(provider.keyhinge_encrypt_many(numbered(3)))
        items = to_open(values)
        items[1] = Decrypt(values[1], {"row": "2"})
        items[2] = Decrypt(EncryptedValue("vault", values[2].key_id, "", b"x"), {"row": "2"})
        one, two, three = provider.keyhinge_rewrap_many(items)
        assert isinstance(one, Sealed)
        assert isinstance(two, InvalidCiphertextError)
        assert isinstance(three, InvalidCiphertextError)

    def test_from_another_key(self, bao: Bao, provider: VaultProvider, open_provider: Open):
        """Values of an old key come under `keyID`, whatever kind the two are."""
        old = values_of(provider.keyhinge_encrypt_many(numbered(20)))
        for derived in (True, False):
            new = bao.key(derived=derived)
            names = (new, provider.key.name)
            token = bao.token([bao.transit_policy(name) for name in names])
            block = {"keyID": new, "decryptKeyIDs": [provider.key.name], "token": token}
            moved = open_provider(bao.url, block)
            again = values_of(moved.keyhinge_rewrap_many(to_open(old)))
            assert {value.key_id for value in again} == {new}
            assert moved.keyhinge_decrypt_many(to_open(again)) == [b"%d" % n for n in range(20)]

    def test_rubbish(self, provider: VaultProvider, relay: Relay):
        """An answer in another order isn't taken here either."""
        values = values_of(provider.keyhinge_encrypt_many(numbered(5)))

        def turn(_: Seen, reply: Any) -> Any:
            body = json.loads(reply[2])
            body["data"].get("batch_results", []).reverse()
            return reply[0], reply[1], json.dumps(body).encode()

        provider.keyhinge_rewrap_many(to_open(values))
        relay.alter = turn
        results = provider.keyhinge_rewrap_many(to_open(values))
        assert all(isinstance(result, UnavailableError) for result in results)

    def test_without_the_right_to(self, bao: Bao, open_provider: Open):
        """For derived keys the error names it; ordinary ones don't need it."""
        for derived in (True, False):
            key = bao.key(derived=derived)
            token = bao.token([bao.transit_policy(key, can=["encrypt", "decrypt"])])
            provider = open_provider(bao.url, {"keyID": key, "token": token})
            values = values_of(provider.keyhinge_encrypt_many(numbered(2)))
            results = provider.keyhinge_rewrap_many(to_open(values))
            if derived:
                assert isinstance(results[0], AccessDeniedError)
                assert f"update on transit/rewrap/{key}" in str(results[0])
            else:
                assert isinstance(results[0], Sealed)
