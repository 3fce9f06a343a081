"""Each auth method logs in to a real server, and each is refused with wrong credentials."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import AccessDeniedError
from keyhinge_vault._auth import SERVICE_ACCOUNT_TOKEN
from keyhinge_vault._errors import ServiceError, operation_error

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay, TokenReviewStub

    from keyhinge_vault._session import Session

Open = Callable[..., "Session"]
PLAINTEXT = {"plaintext": base64.b64encode(b"secret").decode()}


@pytest.fixture(scope="session")
def key(bao: Bao) -> str:
    """A key of the shared server."""
    return bao.key()


@pytest.fixture(scope="session")
def policy(bao: Bao, key: str) -> str:
    """What an application needs for it."""
    return bao.transit_policy(key)


def encrypts(session: Session, key: str) -> bool:
    """Encrypt something."""
    answer = session.request("POST", f"transit/encrypt/{key}", json=PLAINTEXT)
    return str(answer.data["ciphertext"]).startswith("vault:v1:")


def refusal(session: Session, key: str) -> ServiceError:
    """Give what a request is refused with."""
    with pytest.raises(ServiceError) as caught:
        encrypts(session, key)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert isinstance(operation_error(error), AccessDeniedError)
    assert not error.retry
    return error


class TestToken:
    def test_works(self, bao: Bao, open_session: Open, key: str, policy: str):
        """A token from the configuration is used as it is."""
        assert encrypts(open_session(bao.url, {"token": bao.token([policy])}), key)

    def test_from_a_file(self, bao: Bao, open_session: Open, key: str, policy: str, tmp_path: Path):
        """A token from a file may end with a newline."""
        path = tmp_path / "token"
        path.write_text(bao.token([policy]) + "\n")
        assert encrypts(open_session(bao.url, {"tokenFile": path}), key)

    def test_from_the_environment(self, bao: Bao, open_session: Open, key: str, policy: str):
        """The environment's token is used where the configuration has none, and only there."""
        good = {"VAULT_TOKEN": bao.token([policy])}
        bad = {"VAULT_TOKEN": "hvs.nobody-has-this-one"}
        assert encrypts(open_session(bao.url, {}, environ=good), key)
        given = open_session(bao.url, {"token": bao.token([policy])}, environ=bad)
        assert encrypts(given, key)

    def test_wrong(self, bao: Bao, open_session: Open, key: str):
        """A token that the server never knew may as well lack the right: the error says both."""
        session = open_session(bao.url, {"token": "hvs.nobody-has-this-one"})
        error = operation_error(refusal(session, key))
        assert "the token is no longer valid, or no policy of it allows this" in str(error)

    def test_without_the_right(self, bao: Bao, open_session: Open, key: str):
        """A good token whose policy doesn't allow it is denied, without another login."""
        session = open_session(bao.url, {"token": bao.token()})
        assert refusal(session, key).kind == "denied"

    def test_none_is_given(self, bao: Bao, open_session: Open, key: str):
        """Without any token nothing is sent."""
        session = open_session(bao.url, {})
        assert refusal(session, key).kind == "no-token"

    @pytest.mark.parametrize("content", [None, "", "two\nlines", "ümlaut"])
    def test_file_of_no_use(
        self, bao: Bao, open_session: Open, key: str, tmp_path: Path, content: str | None
    ):
        """A file that is missing, empty or holds what can't be a token is said to be at fault."""
        path = tmp_path / "token"
        if content is not None:
            path.write_text(content, encoding="utf-8")
        session = open_session(bao.url, {"tokenFile": path})
        assert refusal(session, key).kind == "secret-file"


class TestUserpass:
    def test_works(self, bao: Bao, open_session: Open, key: str, policy: str):
        """One login serves many requests."""
        keys = bao.userpass([policy])
        session = open_session(bao.url, keys)
        for _ in range(3):
            assert encrypts(session, key)
        assert bao.count(f"auth/{keys['authMount']}/login") == 1

    @pytest.mark.parametrize("wrong", [{"password": "guessed"}, {"username": "nobody"}])
    def test_wrong(
        self, bao: Bao, open_session: Open, key: str, policy: str, wrong: dict[str, str]
    ):
        """A refused login isn't tried again by itself, and the error names its path."""
        keys = {**bao.userpass([policy]), **wrong}
        error = refusal(open_session(bao.url, keys), key)
        assert error.kind == "bad-login"
        assert error.request == f"update on auth/{keys['authMount']}/login/{keys['username']}"
        assert bao.count(f"auth/{keys['authMount']}/login") == 1

    def test_wrong_mount(self, bao: Bao, open_session: Open, key: str):
        """A mount that doesn't exist is refused as well."""
        keys = {**bao.userpass(), "authMount": "nowhere"}
        assert refusal(open_session(bao.url, keys), key).kind in {"bad-login", "denied"}

    def test_name_stays_in_its_path(self, bao: Bao, open_session: Open, key: str, policy: str):
        """A password may hold anything, since it goes into the body."""
        keys = bao.userpass([policy])
        password = 'sp ce"quote\nnewline ünïcode/../%2e'
        bao.api("POST", f"auth/{keys['authMount']}/users/app/password", {"password": password})
        assert encrypts(open_session(bao.url, {**keys, "password": password}), key)


class TestAppRole:
    def test_works(self, bao: Bao, open_session: Open, key: str, policy: str, tmp_path: Path):
        """The secret id may stand in a file."""
        keys = bao.approle([policy])
        assert encrypts(open_session(bao.url, keys), key)
        path = tmp_path / "secret-id"
        path.write_text(keys.pop("secretID"))
        assert encrypts(open_session(bao.url, {**keys, "secretIDFile": path}), key)

    def test_without_a_secret_id(self, bao: Bao, open_session: Open, key: str, policy: str):
        """A role that needs none works without one."""
        keys = bao.approle([policy], bind_secret_id=False, secret_id_bound_cidrs=["127.0.0.1/32"])
        assert "secretID" not in keys
        assert encrypts(open_session(bao.url, keys), key)

    @pytest.mark.parametrize("wrong", ["roleID", "secretID"])
    def test_wrong(self, bao: Bao, open_session: Open, key: str, policy: str, wrong: str):
        """Each half is needed."""
        keys = {**bao.approle([policy]), wrong: "6e5b1f5a-0000-0000-0000-000000000000"}
        assert refusal(open_session(bao.url, keys), key).kind == "bad-login"


class TestJwt:
    def test_works(self, bao: Bao, open_session: Open, key: str, policy: str, tmp_path: Path):
        """The JWT may stand in the configuration or in a file."""
        keys, _ = bao.jwt([policy])
        assert encrypts(open_session(bao.url, keys), key)
        path = tmp_path / "jwt"
        path.write_text(keys.pop("token"))
        assert encrypts(open_session(bao.url, {**keys, "tokenFile": path}), key)

    def test_wrong(self, bao: Bao, open_session: Open, key: str, policy: str):
        """An expired JWT, one for others, and somebody else's signature are refused."""
        keys, signer = bao.jwt([policy])
        expired = {"sub": "app", "aud": "keyhinge", "iat": 1_000_000, "exp": 1_000_600}
        for token in (
            signer.sign(expired),
            signer.sign({**expired, "iat": 1, "exp": 1 << 40, "aud": "others"}),
            bao.jwt()[0]["token"],
        ):
            session = open_session(bao.url, {**keys, "token": token})
            assert refusal(session, key).kind == "bad-login"

    def test_wrong_role(self, bao: Bao, open_session: Open, key: str, policy: str):
        """So is a role that there isn't."""
        keys, _ = bao.jwt([policy])
        assert refusal(open_session(bao.url, {**keys, "role": "other"}), key).kind == "bad-login"


class TestKubernetes:
    def test_works(
        self,
        bao: Bao,
        kubernetes: TokenReviewStub,
        open_session: Open,
        key: str,
        policy: str,
        tmp_path: Path,
    ):
        """The service account's token is read from its file."""
        keys = bao.kubernetes(kubernetes, tmp_path / "token", [policy])
        assert encrypts(open_session(bao.url, keys), key)

    def test_default_path(self, open_session: Open, monkeypatch: pytest.MonkeyPatch):
        """Without a file the one of a pod is meant."""
        from keyhinge_vault import _auth

        assert Path("/var/run/secrets/kubernetes.io/serviceaccount/token") == Path(
            SERVICE_ACCOUNT_TOKEN
        )
        monkeypatch.setattr(_auth, "SERVICE_ACCOUNT_TOKEN", "/nowhere/token")
        session = open_session("http://127.0.0.1:1", {"authMethod": "kubernetes", "role": "app"})
        assert refusal(session, "app").kind == "secret-file"

    @pytest.mark.parametrize(
        "options",
        [{"forged": True}, {"seconds": -5}, {"account": "other"}, {"namespace": "kube-system"}],
        ids=["forged", "expired", "other account", "other namespace"],
    )
    def test_wrong(
        self,
        bao: Bao,
        kubernetes: TokenReviewStub,
        open_session: Open,
        key: str,
        policy: str,
        tmp_path: Path,
        options: dict[str, Any],
    ):
        """Others' tokens are refused: by the cluster, or by the role."""
        keys = bao.kubernetes(kubernetes, tmp_path / "token", [policy])
        Path(keys["tokenFile"]).write_text(kubernetes.token(**options))
        assert refusal(open_session(bao.url, keys), key).kind == "bad-login"


class TestCert:
    def test_works(self, tls_bao: Bao, open_session: Open):
        """A client certificate logs in."""
        key = tls_bao.key()
        keys = tls_bao.cert([tls_bao.transit_policy(key)])
        assert encrypts(open_session(tls_bao.url, keys), key)

    def test_without_naming_a_role(self, tls_bao: Bao, open_session: Open):
        """The server finds the role by the certificate."""
        key = tls_bao.key()
        keys = tls_bao.cert([tls_bao.transit_policy(key)])
        keys.pop("role")
        assert encrypts(open_session(tls_bao.url, keys), key)

    def test_wrong(self, tls_bao: Bao, open_session: Open):
        """Another's certificate of the same authority is refused."""
        keys = tls_bao.cert()
        assert tls_bao.tls is not None
        keys.update(tls_bao.tls.settings("other.example"))
        assert refusal(open_session(tls_bao.url, keys), "app").kind == "bad-login"


class TestNone:
    def test_works_through_an_agent(
        self, bao: Bao, open_session: Open, relay_to: Callable[[str], Relay], key: str, policy: str
    ):
        """An agent adds the token; we send none and log in nowhere."""
        agent = relay_to(bao.url)
        agent.headers["X-Vault-Token"] = bao.token([policy])
        session = open_session(agent.url, {"authMethod": "none"})
        assert encrypts(session, key)
        assert [seen.path for seen in agent.seen] == [f"/v1/transit/encrypt/{key}"]
        assert "x-vault-token" not in agent.seen[0].headers

    def test_wrong(self, bao: Bao, open_session: Open, relay_to: Callable[[str], Relay], key: str):
        """An agent whose token is of no use is denied; nothing is tried again."""
        agent = relay_to(bao.url)
        agent.headers["X-Vault-Token"] = bao.token()
        session = open_session(agent.url, {"authMethod": "none"})
        assert refusal(session, key).kind == "denied"
        assert len(agent.seen) == 1
        session.close()
        assert len(agent.seen) == 1
