"""The servers that the other tests rely on do what their tests believe."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay, Tls, TokenReviewStub

PLAINTEXT = base64.b64encode(b"secret").decode()


def login(bao: Bao, settings: dict[str, Any], path: str, body: dict[str, Any]) -> str:
    answer = bao.api("POST", f"auth/{settings['authMount']}/{path}", body, token="")
    token: str = answer["auth"]["client_token"]
    return token


class TestServer:
    def test_has_transit_and_counts_requests(self, bao: Bao):
        """The audit log of the shared server tells what one test caused."""
        key = bao.key()
        token = bao.token([bao.transit_policy(key)])
        for _ in range(3):
            bao.api("POST", f"transit/encrypt/{key}", {"plaintext": PLAINTEXT}, token=token)

        assert bao.count(f"transit/encrypt/{key}") == 3
        assert bao.count(f"transit/decrypt/{key}") == 0

    def test_keeps_to_the_policy(self, bao: Bao):
        """A token can't use another test's key."""
        key, other = bao.key(), bao.key()
        token = bao.token([bao.transit_policy(key)])

        with pytest.raises(Exception, match=r"^403"):
            bao.api("POST", f"transit/encrypt/{other}", {"plaintext": PLAINTEXT}, token=token)

    def test_has_namespaces(self, bao: Bao):
        """A key may stand in a namespace."""
        namespace = bao.namespace()
        key = bao.key(namespace=namespace)
        policy = bao.transit_policy(key, namespace=namespace)
        token = bao.token([policy], namespace=namespace)
        body = {"plaintext": PLAINTEXT}

        bao.api("POST", f"transit/encrypt/{key}", body, token=token, namespace=namespace)

    def test_limits_requests(self, bao: Bao):
        """A quota answers 429."""
        mount = bao.mount()
        key = bao.key(mount=mount)
        quota = bao.limit_requests(f"{mount}/", 1, "60s")
        bao.api("POST", f"{mount}/encrypt/{key}", {"plaintext": PLAINTEXT})
        with pytest.raises(Exception, match=r"^429"):
            bao.api("POST", f"{mount}/encrypt/{key}", {"plaintext": PLAINTEXT})
        bao.unlimit(quota)
        bao.api("POST", f"{mount}/encrypt/{key}", {"plaintext": PLAINTEXT})

    def test_seals_freezes_and_comes_back(self, start_bao: Callable[..., Bao]):
        """An own server can be sealed and unsealed, and keeps its keys."""
        bao = start_bao("inmem")
        key = bao.key()
        bao.seal()
        with pytest.raises(Exception, match=r"^503"):
            bao.api("GET", f"transit/keys/{key}")
        bao.unseal()
        bao.freeze()
        bao.thaw()
        bao.api("GET", f"transit/keys/{key}")

    def test_survives_a_kill_on_raft(self, start_bao: Callable[..., Bao]):
        """A raft server has its keys and tokens after `kill -9`."""
        bao = start_bao("raft")
        key, url = bao.key(), bao.url
        token = bao.token([bao.transit_policy(key)])
        bao.restart()

        assert bao.url == url
        bao.api("POST", f"transit/encrypt/{key}", {"plaintext": PLAINTEXT}, token=token)

    def test_wants_client_certificates(self, tls_bao: Bao, tls: Tls):
        """The server with TLS lets in who has a certificate of its authority."""
        settings = tls_bao.cert()
        assert Path(settings["tlsCertificatePath"]).exists()
        assert login(tls_bao, tls_bao.cert(client="admin.example"), "login", {})
        with pytest.raises(Exception, match=r"^400"):
            login(tls_bao, settings, "login", {})  # the tests' own certificate is admin.example's


class TestAuthMethods:
    def test_log_in(self, bao: Bao, kubernetes: TokenReviewStub, tmp_path: Path):
        """Each method takes its right credentials."""
        userpass = bao.userpass(token_ttl="4s")
        assert login(bao, userpass, "login/app", {"password": userpass["password"]})
        approle = bao.approle()
        ids = {"role_id": approle["roleID"], "secret_id": approle["secretID"]}
        assert login(bao, approle, "login", ids)
        jwt, _ = bao.jwt()
        assert login(bao, jwt, "login", {"role": "app", "jwt": jwt["token"]})
        pod = bao.kubernetes(kubernetes, tmp_path / "token")
        body = {"role": "app", "jwt": Path(pod["tokenFile"]).read_text()}
        assert login(bao, pod, "login", body)
        assert kubernetes.reviews[-1] == "app"

    @pytest.mark.parametrize(
        "options",
        [{"forged": True}, {"seconds": -1}, {"account": "other"}, {"namespace": "kube-system"}],
    )
    def test_refuse_service_accounts(
        self, bao: Bao, kubernetes: TokenReviewStub, tmp_path: Path, options: dict[str, Any]
    ):
        """Forged, expired and strangers' tokens get 403."""
        pod = bao.kubernetes(kubernetes, tmp_path / "token")
        with pytest.raises(Exception, match=r"^403"):
            login(bao, pod, "login", {"role": "app", "jwt": kubernetes.token(**options)})


class TestRelay:
    def test_passes_on_and_adds_headers(self, bao: Bao, relay_to: Callable[[str], Relay]):
        """A relay can stand for an agent that adds the token."""
        import http.client

        relay = relay_to(bao.url)
        relay.headers["X-Vault-Token"] = bao.root_token
        connection = http.client.HTTPConnection(relay.url.removeprefix("http://"), timeout=5)
        connection.request("GET", "/v1/auth/token/lookup-self")
        assert connection.getresponse().status == 200
        connection.close()
        assert relay.count("auth/token/lookup-self") == 1
