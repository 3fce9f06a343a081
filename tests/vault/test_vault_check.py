"""What `check` says of a section, for each purpose, with real policies, tokens and certificates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge import CheckReport, Finding, KeyManager, Purpose
from keyhinge_vault import vault

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Tls


def look(bao: Bao, purpose: Purpose = "app", **settings: Any) -> CheckReport:
    """Check a section with these settings."""
    block = {"provider": "vault", "vault": {"endpoint": bao.url, **settings}}
    config = {"keyManagement": block}
    with KeyManager.open(config, providers={"vault": vault}, environ={}) as keys:
        return keys.check(purpose=purpose)


def found(report: CheckReport, code: str) -> list[Finding]:
    """Give the findings with this code."""
    return [finding for finding in report.findings if finding.code == code]


@pytest.fixture
def app(bao: Bao) -> Callable[..., dict[str, Any]]:
    """Make a key and a token for it; give the settings."""

    def make(can: tuple[str, ...] = ("encrypt", "decrypt"), **token: Any) -> dict[str, Any]:
        key = bao.key()
        policy = bao.transit_policy(key, can=can, read=token.pop("read", True))
        return {"keyID": key, "token": bao.token([policy], **token)}

    return make


class TestGood:
    def test_everything_is_told(self, bao: Bao, app: Any):
        report = look(bao, **app())
        assert report.ok
        (server,), (login,), (clock,) = (found(report, c) for c in ("server", "login", "clock"))
        assert server.data["version"]
        assert clock.data["skew"] in range(-5, 6)
        assert login.data["method"] == "token"
        assert login.data["renewable"] is True
        (key,) = found(report, "transit-key")
        assert key.data["latest_version"] == 1
        assert key.data["binds"] == "associated_data"
        assert {str(f.data["path"]).split("/")[1] for f in found(report, "policy")} == {
            "encrypt",
            "decrypt",
        }

    def test_a_derived_key_and_its_rewrap(self, bao: Bao):
        """Migrating needs one path more, and only migrating does."""
        key = bao.key(derived=True)
        token = bao.token([bao.transit_policy(key, can=("encrypt", "decrypt"))])
        assert look(bao, keyID=key, token=token).ok
        report = look(bao, "migrate", keyID=key, token=token)
        assert not report.ok
        assert "lacks update on transit/rewrap/" in found(report, "policy")[-1].message

    def test_no_token_or_accessor_is_shown(self, bao: Bao, app: Any):
        settings = app()
        accessor = bao.api("GET", "auth/token/lookup-self", token=settings["token"])["data"][
            "accessor"
        ]
        text = repr(look(bao, **settings))
        assert settings["token"] not in text
        assert accessor not in text


class TestPolicy:
    def test_a_reader_needs_only_to_decrypt(self, bao: Bao, app: Any):
        settings = app(can=("decrypt",), read=False)
        assert look(bao, "read", **settings).ok
        report = look(bao, "app", **settings)
        assert not report.ok
        (lack,) = [f for f in found(report, "policy") if f.level == "error"]
        assert lack.data["path"] == f"transit/encrypt/{settings['keyID']}"
        assert lack.data["capability"] == "update"

    def test_nothing_allowed(self, bao: Bao, app: Any):
        settings = app()
        report = look(bao, "read", keyID=settings["keyID"], token=bao.token())
        assert [f.level for f in found(report, "policy")] == ["info", "error"]


class TestEnds:
    def test_a_token_that_nothing_renews(self, bao: Bao, app: Any):
        (login,) = found(look(bao, **app(ttl="1h", renewable=False)), "login")
        assert login.level == "warning"
        assert str(login.data["expires"]).endswith("Z")
        assert "the token ends" in str(login.data["breaks"])

    def test_certificates(self, tls_bao: Bao, tls: Tls):
        key = tls_bao.key()
        token = tls_bao.token([tls_bao.transit_policy(key)])
        files: dict[str, Any] = dict(tls.settings("client.example"))
        report = look(tls_bao, keyID=key, token=token, **files)
        assert report.ok
        for code in ("tls-server", "tls-client", "tls-ca"):
            (finding,) = found(report, code)
            assert "expires" in finding.data


class TestBad:
    def test_a_missing_key(self, bao: Bao):
        report = look(bao, keyID="nowhere", token=bao.root_token)
        assert found(report, "transit-key")[0].level == "error"
        assert not report.ok

    def test_a_bad_token(self, bao: Bao, app: Any):
        settings = app()
        report = look(bao, keyID=settings["keyID"], token="s.wrong")
        assert not report.ok

    def test_a_server_that_is_sealed(self, start_bao: Any):
        server = start_bao()
        key, token = server.key(), server.root_token
        server.seal()
        report = look(server, keyID=key, token=token, retryFor=0)
        assert all(f.data["retryable"] for f in report.findings if f.level == "error")
        assert found(report, "server")[0].level == "error"

    def test_a_server_that_is_gone(self, start_bao: Any):
        server = start_bao()
        key, token = server.key(), server.root_token
        server.kill()
        report = look(server, keyID=key, token=token, retryFor=0)
        assert found(report, "server")[0].data["retryable"] is True
