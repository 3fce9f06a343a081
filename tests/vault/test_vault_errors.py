"""What the server says, and what callers are told."""

from __future__ import annotations

import base64
import pickle
import string
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import (
    AccessDeniedError,
    InvalidCiphertextError,
    KeyUnavailableError,
    OperationError,
    ThrottledError,
    UnavailableError,
)
from keyhinge_vault._errors import KINDS, ServiceError, classify, operation_error
from keyhinge_vault._http import Connection
from keyhinge_vault._names import api_path
from keyhinge_vault._server import Server

if TYPE_CHECKING:
    from tests.vault._openbao import Bao

PLAINTEXT = base64.b64encode(b"geheim").decode()
MARKER = "geheim-4711"


class TestTable:
    """The table is in order."""

    @pytest.mark.parametrize("name", sorted(KINDS))
    def test_each_kind(self, name: str):
        kind = KINDS[name]
        fields = {field for _, field, _, _ in string.Formatter().parse(kind.message) if field}
        assert fields <= {"request", "where"}
        assert issubclass(kind.error, OperationError)
        error = operation_error(ServiceError(name, status=400), request="read on x", namespace="n")
        assert type(error) is kind.error
        assert "{" not in str(error)
        assert error.failure is not None
        assert (error.failure.code, error.failure.reason) == (name, kind.reason)

    def test_reasons_differ(self):
        assert len({kind.reason for kind in KINDS.values()}) == len(KINDS)

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (304, "answer"),
            (400, "bad-request"),
            (401, "denied"),
            (403, "denied"),
            (404, "missing"),
            (405, "unsupported"),
            (409, "bad-request"),
            (412, "behind"),
            (413, "too-large"),
            (429, "throttled"),
            (472, "standby"),
            (473, "standby"),
            (500, "unavailable"),
            (501, "uninitialized"),
            (502, "unavailable"),
            (503, "unavailable"),
            (504, "unavailable"),
            (599, "unavailable"),
        ],
    )
    def test_statuses(self, status: int, kind: str):
        assert classify(status, []) == kind
        assert classify(status, ["something new"]) == kind

    @pytest.mark.parametrize(
        ("status", "message", "kind"),
        [
            # What HashiCorp Vault says where OpenBao says it in other words, or not at all.
            (500, "local node not active but active cluster node not found", "standby"),
            (503, "Vault is sealed", "sealed"),
            (503, "OpenBao is sealed", "sealed"),
            (400, "Vault is not initialized", "uninitialized"),
            (400, "unsupported path", "no-route"),
            (405, "1 error occurred:\n\t* unsupported operation\n\n", "unsupported"),
            (400, "no key found with name foo", "no-key"),
            (500, "http: request body too large", "too-large"),
            (400, "missing client token", "bad-login"),
        ],
    )
    def test_messages(self, status: int, message: str, kind: str):
        assert classify(status, [message]) == kind

    @pytest.mark.parametrize("rubbish", [[None], [7, {"a": 1}], [[]], ["\0" * 99], ["x" * 10**6]])
    def test_rubbish(self, rubbish: list[Any]):
        assert classify(400, rubbish) == "bad-request"

    @pytest.mark.parametrize("status", [403, 404, 500])
    def test_wrong_status_for_the_message(self, status: int):
        """Only a 400 can say that a ciphertext is wrong."""
        assert classify(status, ["cipher: message authentication failed"]) != "ciphertext"


class TestPublicError:
    """What callers see."""

    def test_names_what_the_policy_lacks(self):
        error = operation_error(
            ServiceError("denied", status=403),
            request="update on transit/encrypt/app",
            namespace="team",
            operation="encrypt",
        )
        assert isinstance(error, AccessDeniedError)
        assert "update on transit/encrypt/app" in str(error)
        assert "namespace team" in str(error)
        assert (error.operation, error.retryable) == ("encrypt", False)

    def test_one_message_for_what_does_not_open(self):
        """It gives nothing away."""
        error = operation_error(ServiceError("ciphertext", status=400), request="x on y")
        assert str(error) == InvalidCiphertextError.MESSAGE

    @pytest.mark.parametrize(
        ("kind", "cls", "retryable"),
        [
            ("throttled", ThrottledError, True),
            ("sealed", UnavailableError, True),
            ("connection", UnavailableError, True),
            ("tls-alert", UnavailableError, True),
            ("tls-untrusted", UnavailableError, False),
            ("no-key", KeyUnavailableError, False),
        ],
    )
    def test_retryable(self, kind: str, cls: type, retryable: bool):
        error = operation_error(ServiceError(kind))
        assert isinstance(error, cls)
        assert error.retryable is retryable

    def test_pickle(self):
        error = operation_error(ServiceError("sealed", status=503, request_id="r-1"))
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.failure) == (str(error), error.failure)


Ask = Callable[..., str]


@pytest.fixture
def ask(bao: Bao) -> Any:
    """Send a request that fails; give the kind of its failure."""
    connection = Connection(Server(section="vault", endpoint=bao.url))

    def asking(path: str, body: Any, *, method: str = "POST", **options: Any) -> str:
        options.setdefault("token", bao.root_token)
        with pytest.raises(ServiceError) as caught:
            connection.request(method, path, json=body, **options)
        error = caught.value
        assert error.__context__ is error.__cause__ is None
        assert MARKER not in f"{error!r} {error} {error.failure} {vars(error)}"
        return error.kind

    yield asking
    connection.close()


def sealed(bao: Bao, key: str, **more: str) -> str:
    body = {"plaintext": PLAINTEXT, **more}
    text: str = bao.api("POST", f"transit/encrypt/{key}", body)["data"]["ciphertext"]
    return text


class TestRealServer:
    """The messages of a real server are those that the table knows."""

    @pytest.mark.parametrize(
        ("ciphertext", "kind"),
        [
            ("vault:v1:AAAA", "ciphertext"),
            ("vault:v1:" + "A" * 80, "ciphertext"),
            ("vault:v1:***", "ciphertext"),
            (MARKER, "ciphertext"),
            ("vault:v9:" + "A" * 80, "no-version"),
        ],
    )
    def test_rubbish(self, bao: Bao, ask: Ask, ciphertext: str, kind: str):
        assert ask(f"transit/decrypt/{bao.key()}", {"ciphertext": ciphertext}) == kind

    def test_wrong_associated_data(self, bao: Bao, ask: Ask):
        key = bao.key()
        body = {"ciphertext": sealed(bao, key, associated_data="AAAA"), "associated_data": "AAAB"}
        assert ask(f"transit/decrypt/{key}", body) == "ciphertext"

    def test_wrong_context(self, bao: Bao, ask: Ask):
        key = bao.key(derived=True)
        body = {"ciphertext": sealed(bao, key, context="AAAA"), "context": "AAAB"}
        assert ask(f"transit/decrypt/{key}", body) == "ciphertext"
        assert ask(f"transit/encrypt/{key}", {"plaintext": PLAINTEXT}) == "needs-context"

    def test_missing_key(self, ask: Ask):
        assert ask("transit/decrypt/nokey", {"ciphertext": "vault:v1:AAAA"}) == "no-key"
        assert ask("transit/rewrap/nokey", {"ciphertext": "vault:v1:AAAA"}) == "no-key"
        assert ask("transit/keys/nokey", None, method="GET") == "missing"

    def test_wrong_place(self, bao: Bao, ask: Ask):
        body = {"ciphertext": "vault:v1:AAAA"}
        assert ask(f"nothere/decrypt/{bao.key()}", body) == "no-route"
        assert ask("transit/decrypt/a", body, namespace="nothere") == "no-route"

    def test_versions(self, bao: Bao, ask: Ask):
        key = bao.key()
        old = sealed(bao, key)
        bao.api("POST", f"transit/keys/{key}/rotate")
        bao.api("POST", f"transit/keys/{key}/config", {"min_decryption_version": 2})
        assert ask(f"transit/decrypt/{key}", {"ciphertext": old}) == "too-old"
        body = {"plaintext": PLAINTEXT, "key_version": 7}
        assert ask(f"transit/encrypt/{key}", body) == "no-version"

    def test_wrong_type_of_key(self, bao: Bao, ask: Ask):
        key = bao.key(type="ed25519")
        assert ask(f"transit/encrypt/{key}", {"plaintext": PLAINTEXT}) == "unsupported"

    def test_denied(self, bao: Bao, ask: Ask):
        body = {"plaintext": PLAINTEXT}
        assert ask(f"transit/encrypt/{bao.key()}", body, token=bao.token()) == "denied"
        assert ask(f"transit/encrypt/{bao.key()}", body, token=MARKER) == "denied"
        assert ask(f"transit/encrypt/{bao.key()}", body, token=None) == "denied"

    def test_login(self, bao: Bao, ask: Ask):
        mount = bao.userpass()["authMount"]
        path = api_path(f"auth/{mount}", "login", "app")
        assert ask(path, {"password": MARKER}, token=None) == "bad-login"
        path = api_path(f"auth/{bao.approle()['authMount']}", "login")
        assert ask(path, {"role_id": "x", "secret_id": MARKER}, token=None) == "bad-login"

    def test_not_renewable(self, bao: Bao, ask: Ask):
        token = bao.token(renewable=False)
        assert ask("auth/token/renew-self", {}, token=token) == "not-renewable"

    def test_too_large(self, bao: Bao, ask: Ask):
        """In number and in bytes."""
        key = bao.key()
        many = {"batch_input": [{"plaintext": ""}] * 600}
        assert ask(f"transit/encrypt/{key}", many) == "too-large"
        assert ask(f"transit/encrypt/{key}", {"plaintext": "A" * (40 << 20)}) == "too-large"

    def test_throttled(self, bao: Bao, ask: Ask):
        mount = bao.mount()
        key = bao.key(mount=mount)
        quota = bao.limit_requests(f"{mount}/", 1, "60s")
        path, body = f"{mount}/encrypt/{key}", {"plaintext": PLAINTEXT}
        bao.api("POST", path, body)
        assert ask(path, body) == "throttled"
        bao.unlimit(quota)

    def test_sealed_and_gone(self, start_bao: Callable[..., Bao]):
        server = start_bao("inmem")
        connection = Connection(Server(section="vault", endpoint=server.url))
        found = []
        for harm in (server.seal, server.stop):
            harm()
            with pytest.raises(ServiceError) as caught:
                connection.request("POST", "transit/decrypt/a", json={}, token=server.root_token)
            found.append(caught.value.kind)
        connection.close()
        assert found == ["sealed", "connection"]
