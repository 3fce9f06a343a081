"""What a hostile value, or an answer that somebody planted, can make the provider do: nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keyhinge import (
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    KeyManager,
    KeyUnavailableError,
    OperationError,
    Sealed,
)
from keyhinge_vault import openbao, vault

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay

    from keyhinge_vault._provider import VaultProvider

Open = Callable[..., "VaultProvider"]
REFUSED = (InvalidCiphertextError, KeyUnavailableError)
CONTEXT = {"account": "acct_1"}


def value(key_id: str, version: str, ciphertext: bytes) -> EncryptedValue:
    return EncryptedValue("vault", key_id, version, ciphertext)


def always(reply: Any) -> Callable[[Any], Any]:
    """Answer every request in the same way."""
    return lambda _: reply


class Planted:
    """A provider for `mine`, with a token that may use all keys: nothing but it holds it back."""

    def __init__(self, bao: Bao, relay: Relay, open_provider: Open, derived: bool) -> None:
        self.mine = bao.key(derived=derived)
        self.theirs = bao.key(derived=derived)
        token = bao.token([bao.policy({"transit/*": ["create", "read", "update"]})])
        self.provider = open_provider(relay.url, {"keyID": self.mine, "token": token})
        stranger = open_provider(bao.url, {"keyID": self.theirs, "token": token})
        self.value = self._made(self.provider)
        self.their_value = self._made(stranger)
        self.bao, self.relay = bao, relay
        relay.seen.clear()

    def _made(self, provider: VaultProvider) -> EncryptedValue:
        sealed = provider.keyhinge_encrypt(b"secret", CONTEXT)
        return value(sealed.key_id, sealed.version, sealed.ciphertext)

    def assert_refused(self, planted: EncryptedValue) -> None:
        """It opens to nothing, alone, in a batch, and for a rewrap; and names nothing it shouldn't.

        A label with another version may open, but to the same bytes only.
        """
        item = Decrypt(planted, CONTEXT)
        with pytest.raises(REFUSED):
            self.provider.keyhinge_decrypt(planted, CONTEXT)
        for results in (
            self.provider.keyhinge_decrypt_many([item, Decrypt(self.value, CONTEXT)]),
            self.provider.keyhinge_rewrap_many([item, Decrypt(self.value, CONTEXT)]),
        ):
            assert isinstance(results[0], REFUSED)
            assert not isinstance(results[1], OperationError)
        self.assert_only_mine()

    def assert_only_mine(self) -> None:
        """No request went anywhere but to the configured key."""
        paths = {seen.path for seen in self.relay.seen}
        verbs = ("encrypt", "decrypt", "rewrap", "keys")
        allowed = {f"/v1/transit/{verb}/{self.mine}" for verb in verbs}
        allowed |= {"/v1/sys/capabilities-self", "/v1/auth/token/lookup-self"}
        assert paths <= allowed


@pytest.fixture(params=["ordinary", "derived"])
def planted(
    request: pytest.FixtureRequest,
    bao: Bao,
    relay_to: Callable[[str], Relay],
    open_provider: Open,
) -> Planted:
    """What a hostile row meets."""
    return Planted(bao, relay_to(bao.url), open_provider, request.param == "derived")


class TestLabels:
    def test_another_key(self, planted: Planted):
        """A value of a key that the token may use, but that isn't configured."""
        planted.assert_refused(planted.their_value)
        with pytest.raises(KeyUnavailableError, match="decryptKeyIDs"):
            planted.provider.keyhinge_decrypt(planted.their_value, CONTEXT)

    def test_another_keys_value_under_my_name(self, planted: Planted):
        planted.assert_refused(value(planted.mine, "1", planted.their_value.ciphertext))

    def test_paths(self, planted: Planted):
        """Key ids that would lead elsewhere, if they were put into a path."""
        mine, theirs, body = planted.mine, planted.theirs, planted.their_value.ciphertext
        for key_id in (
            "",
            ".",
            "..",
            f"../decrypt/{theirs}",
            f"{mine}/../{theirs}",
            f"{theirs}?x=",
            f"{theirs}#",
            f"{mine}%2f..%2f{theirs}",
            f"%2e%2e/{theirs}",
            f"/{theirs}",
            f"{theirs}/",
            f"transit/{theirs}",
            "../../sys/seal",
            mine.upper(),
            "*",
            "\\",
        ):
            planted.assert_refused(value(key_id, "1", body))
            planted.assert_refused(value(key_id, "1", planted.value.ciphertext))

    def test_versions(self, planted: Planted):
        body = planted.value.ciphertext
        for version in ("", "0", "01", "2", "99", "999999999", "9" * 64, "1.0", "-1", "v1", "1-1"):
            planted.assert_refused(value(planted.mine, version, body))

    def test_the_version_is_authenticated_by_the_key(self, bao: Bao, planted: Planted):
        """Where both versions exist, a value opens under its own only."""
        bao.api("POST", f"transit/keys/{planted.mine}/rotate")
        sealed = planted.provider.keyhinge_encrypt(b"new", CONTEXT)
        assert sealed.version == "2"
        planted.assert_refused(value(planted.mine, "1", sealed.ciphertext))
        planted.assert_refused(value(planted.mine, "2", planted.value.ciphertext))

    def test_ciphertexts(self, planted: Planted):
        """Text in place of a body doesn't become a part of the ciphertext's own text."""
        text = f"vault:v1:{base64.b64encode(planted.value.ciphertext).decode()}"
        for body in (text.encode(), b"v1:eA==", b"\n", b":", b"\0", b'","associated_data":"'):
            planted.assert_refused(value(planted.mine, "1", body))

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(st.data())
    def test_anything(self, planted: Planted, data: st.DataObject):
        """Any label and any body that the format allows."""
        key_ids = st.one_of(st.just(planted.mine), st.just(planted.theirs), _labels(0x21, 40))
        bodies = st.one_of(st.just(planted.their_value.ciphertext), st.binary(min_size=1))
        versions = st.one_of(st.just("1"), st.from_regex(r"[A-Za-z0-9._-]{0,12}", fullmatch=True))
        made = value(data.draw(key_ids), data.draw(versions), data.draw(bodies))
        with pytest.raises(REFUSED):
            planted.provider.keyhinge_decrypt(made, CONTEXT)
        planted.assert_only_mine()


def _labels(first: int, longest: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(min_codepoint=first, max_codepoint=0x7E), max_size=longest)


class TestSections:
    """Two sections with keys of their own, behind the public API."""

    @pytest.fixture
    def keys(self, bao: Bao) -> Iterator[KeyManager]:
        """Open sections `one` and `two`."""
        blocks: dict[str, Any] = {"provider": "one"}
        for name, kind in (("one", "vault"), ("two", "openbao")):
            key = bao.key()
            token = bao.token([bao.policy({"transit/*": ["read", "update"]})])
            blocks[name] = {"type": kind, "endpoint": bao.url, "keyID": key, "token": token}
        modules = {"vault": vault, "openbao": openbao}
        with KeyManager.open({"keyManagement": blocks}, providers=modules, environ={}) as keys:
            yield keys

    def test_another_section(self, keys: KeyManager):
        """A section's name in a value leads to that section's own key, and nothing else."""
        one = keys.encrypt(b"secret", context=CONTEXT)
        two = keys.encrypt(b"secret", context=CONTEXT, section="two")
        for section, key_id in (("two", one.key_id), ("two", two.key_id), ("one", two.key_id)):
            made = EncryptedValue(section, key_id, one.version, one.ciphertext)
            with pytest.raises(REFUSED):
                keys.decrypt(made, context=CONTEXT)


class TestAnswers:
    """Answers of a server, or of what stands before it, that belong to something else."""

    def test_other_versions_never_become_labels(self, planted: Planted):
        """What an answer calls a version stands in a database later on."""
        for version in ("0", "01", "+1", "1\n", "x", "1:../../x", "-1", " 1", "1" * 30):
            content = {"data": {"ciphertext": f"vault:v{version}:eA=="}}
            planted.relay.intercept = always((200, {}, json.dumps(content).encode()))
            with pytest.raises(OperationError):
                planted.provider.keyhinge_encrypt(b"x", CONTEXT)

    def test_key_ids_come_from_the_configuration(self, planted: Planted):
        """Whatever else an answer holds."""

        def plant(_: Any, reply: Any) -> Any:
            content = json.loads(reply[2])
            content["data"].update(key_id="theirs", name="theirs", key_version=7)
            return reply[0], reply[1], json.dumps(content).encode()

        planted.relay.alter = plant
        sealed = planted.provider.keyhinge_encrypt(b"x", CONTEXT)
        (of_batch,) = planted.provider.keyhinge_encrypt_many([Encrypt(b"x", CONTEXT)])
        assert isinstance(of_batch, Sealed)
        for made in (sealed, of_batch):
            assert (made.key_id, made.version) == (planted.mine, "1")

    def test_anothers_item(self, planted: Planted):
        """Two results of a batch change places: nobody gets the other one's plaintext."""
        items = [Encrypt(b"%d" % n, {"row": f"{n}"}) for n in range(4)]
        sealed = planted.provider.keyhinge_encrypt_many(items)
        rows = [
            Decrypt(value(x.key_id, x.version, x.ciphertext), item.context)
            for x, item in zip(sealed, items, strict=True)
            if isinstance(x, Sealed)
        ]
        assert planted.provider.keyhinge_decrypt_many(rows) == [b"0", b"1", b"2", b"3"]

        def swap(_: Any, reply: Any) -> Any:
            content = json.loads(reply[2])
            results = content["data"]["batch_results"]
            results[1], results[2] = results[2], results[1]
            return reply[0], reply[1], json.dumps(content).encode()

        planted.relay.alter = swap
        opened = planted.provider.keyhinge_decrypt_many(rows)
        assert all(isinstance(result, OperationError) for result in opened)

    def test_redirects(self, planted: Planted, relay_to: Callable[[str], Relay]):
        """A redirect doesn't take token and plaintext to another host, or to another key."""
        elsewhere = relay_to(planted.bao.url)
        seen = []
        for target in (
            f"{elsewhere.url}/v1/transit/encrypt/{planted.mine}",
            f"/v1/transit/encrypt/{planted.theirs}",
            f"{planted.relay.url}/v1/transit/encrypt/../encrypt/{planted.theirs}",
        ):
            planted.relay.intercept = always((307, {"Location": target}, b""))
            with pytest.raises(OperationError):
                planted.provider.keyhinge_encrypt(b"x", CONTEXT)
            (item,) = planted.provider.keyhinge_encrypt_many([Encrypt(b"x", CONTEXT)])
            assert isinstance(item, OperationError)
            seen += elsewhere.seen
        assert seen == []
        planted.assert_only_mine()

    def test_an_answer_about_another_kind_of_key(self, planted: Planted):
        """Somebody lies about the key's kind: the proof doesn't go through with the lie."""

        def lie(seen: Any, reply: Any) -> Any:
            content = json.loads(reply[2])
            if "/transit/keys/" in seen.path:
                content["data"]["derived"] = not content["data"]["derived"]
            return reply[0], reply[1], json.dumps(content).encode()

        planted.relay.alter = lie
        planted.provider.key.forget()
        with pytest.raises(OperationError):
            planted.provider.keyhinge_encrypt(b"secret", CONTEXT)
        sent = [seen for seen in planted.relay.seen if b"c2VjcmV0" in seen.body]
        assert sent == []
