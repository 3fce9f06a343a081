"""Settings, and the environment below them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import attrs
import pytest

from keyhinge import ConfigError, InvalidSettings, Secret, Section
from keyhinge.config._fields import fields_of
from keyhinge.config._structure import structure
from keyhinge.config._yaml import parse_yaml
from keyhinge_vault._endpoint import Origin
from keyhinge_vault._server import Server
from keyhinge_vault._settings import OpenBaoSettings, VaultSettings

URL = "https://vault.example.com:8200"


class FakeSection:
    """A section as core describes it to `keyhinge_configure`."""

    name = "vault"
    path = "keyManagement.vault"
    base_dir = Path("/etc/app")

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ

    def over(self, name: str, *, also: Any = ()) -> NoReturn:
        raise AssertionError("vault composes nothing")


def problems(**settings: Any) -> dict[str, str]:
    """Give what is wrong with settings; nothing is fine, too."""
    try:
        VaultSettings(**{"keyID": "app", "endpoint": URL, **settings})
    except InvalidSettings as error:
        return error.messages
    return {}


def server(
    cls: type[VaultSettings] = VaultSettings, environ: Any = None, **settings: Any
) -> Server:
    section = cast("Section", FakeSection(environ or {}))
    return Server.of(cls(**{"keyID": "app", **settings}), section)


class TestMethods:
    """Each method gets what it needs, or says what is missing."""

    @pytest.mark.parametrize(
        ("method", "given", "missing"),
        [
            ("token", {}, set()),
            ("none", {}, set()),
            ("kubernetes", {}, {"role"}),
            ("kubernetes", {"role": ""}, {"role"}),
            ("kubernetes", {"role": "app"}, set()),
            ("userpass", {}, {"username", "password"}),
            ("userpass", {"username": "u"}, {"password"}),
            ("userpass", {"username": "u", "password": Secret("p")}, set()),
            ("approle", {}, {"roleID"}),
            ("approle", {"roleID": "r"}, set()),
            ("approle", {"roleID": "r", "secretID": Secret("s")}, set()),
            ("jwt", {}, {"token"}),
            ("jwt", {"token": Secret("j"), "role": "app"}, set()),
            ("cert", {}, {"tlsCertificatePath"}),
            ("cert", {"tlsCertificatePath": Path("c"), "tlsKeyPath": Path("k")}, set()),
        ],
    )
    def test_needs(self, method: str, given: dict[str, Any], missing: set[str]):
        found = problems(authMethod=method, **given)
        assert set(found) == missing
        assert all(method in text for text in found.values())

    def test_leftovers_of_older_files(self):
        """Keys of other programs' files are left alone where the method has no use for them."""
        leftovers = {"token": Secret("t"), "username": "u", "password": Secret("p")}
        assert problems(authMethod="kubernetes", role="app", **leftovers) == {}

    def test_what_means_nothing(self):
        assert set(problems(roleID="r", secretID=Secret("s"), authMount="x")) == {
            "roleID",
            "secretID",
            "authMount",
        }

    @pytest.mark.parametrize(
        ("given", "missing"),
        [("tlsCertificatePath", "tlsKeyPath"), ("tlsKeyPath", "tlsCertificatePath")],
    )
    def test_both_or_neither(self, given: str, missing: str):
        found = problems(**{given: Path("x")})
        assert list(found) == [missing]
        assert given in found[missing]


class TestValues:
    """Values taken one by one."""

    @pytest.mark.parametrize(
        "endpoint",
        [
            URL,
            URL + "/",
            "http://127.0.0.1:8200",
            "https://[::1]:8200",
            "https://host",
            "HTTPS://Host/sub/route/",
        ],
    )
    def test_endpoints(self, endpoint: str):
        assert problems(endpoint=endpoint) == {}

    @pytest.mark.parametrize(
        "endpoint",
        [
            "",
            "vault.example.com:8200",
            "//host",
            "unix:///run/vault.sock",
            "ftp://host",
            "https://",
            "https://:8200",
            "https://user:hunter2@host",
            "https://@host",
            "https://host?a=b",
            "https://host?",
            "https://host#f",
            "https://host/../x",
            "https://host/a%2fb",
            "https://host:0",
            "https://host:99999",
            "https://host:port",
            "https://host\\@other",
            "https://ho st",
            "https://host\n",
            "https://h\u00f6st",
            "https://[::1",
        ],
    )
    def test_no_endpoints(self, endpoint: str):
        found = problems(endpoint=endpoint)
        assert list(found) == ["endpoint"]
        assert "hunter2" not in found["endpoint"]

    def test_version_in_the_endpoint(self):
        assert "/v1" in problems(endpoint=URL + "/v1/")["endpoint"]

    @pytest.mark.parametrize("key", ["keyID", "username", "mount", "authMount", "namespace"])
    def test_names(self, key: str):
        """Nothing that goes into a path or header can leave its place."""
        given = {"authMethod": "userpass", "username": "u", "password": Secret("p")}
        for name in ("../x", "a\nb", "a%2fb"):
            assert list(problems(**{**given, key: name})) == [key]

    def test_lists(self):
        found = problems(decryptKeyIDs=["old", "../x"], allowRedirectTo=["http://x", "host:8200"])
        assert set(found) == {"decryptKeyIDs", "allowRedirectTo"}

    @pytest.mark.parametrize(
        "host", ["", "a b", "u@h", "h:", "h/p", "h:0", "[::1", "*", "*.example"]
    )
    def test_no_redirect_hosts(self, host: str):
        assert ("allowRedirectTo" in problems(allowRedirectTo=[host])) is (host != "h:")

    def test_auth_mount_is_below_auth(self):
        given = {"authMethod": "kubernetes", "role": "app"}
        assert "leave that out" in problems(authMount="auth/k8s", **given)["authMount"]
        assert problems(authMount="k8s/", **given) == {}

    @pytest.mark.parametrize(
        "proxy", ["socks5://h:1", "https://h", "h:3128", "http://h/path", "http://"]
    )
    def test_no_proxies(self, proxy: str):
        assert list(problems(proxy=Secret(proxy))) == ["proxy"]

    def test_proxy(self):
        assert problems(proxy=Secret("http://user:hunter2@proxy:3128")) == {}

    def test_limits(self):
        assert list(problems(timeout=0.0)) == ["timeout"]
        assert list(problems(retryFor=-1.0)) == ["retryFor"]

    def test_everything_at_once(self):
        found = problems(keyID="/", endpoint="x", authMethod="userpass", tlsKeyPath=Path("k"))
        assert set(found) == {"keyID", "endpoint", "username", "password", "tlsCertificatePath"}


class TestYaml:
    """As a file has them."""

    def test_every_key_of_an_older_file(self, tmp_path: Path):
        """The names that files have already are taken as they are."""
        text = b"""
keyID: monetr
authMethod: kubernetes
token: ""
tokenFile: /run/token
username: u
password: p
role: monetr
endpoint: https://your-vault-server.local:8200
tlsCertificatePath: tls.crt
tlsKeyPath: tls.key
tlsCAPath: ca.crt
insecureSkipVerify: false
"""
        lines = text.replace(b'token: ""\n', b"").strip().splitlines()
        file = b"store:\n" + b"".join(b"  " + line + b"\n" for line in lines)
        block = parse_yaml(file).blocks["store"]
        found = structure(block, VaultSettings, base_dir=tmp_path)
        assert found.problems == ()
        assert found.value.tls_ca_path == tmp_path / "ca.crt"
        assert found.value.token.path == Path("/run/token")

    def test_both_have_the_same_keys(self):
        keys = [field.key for field in fields_of(VaultSettings)]
        assert keys == [field.key for field in fields_of(OpenBaoSettings)]
        assert {"keyID", "roleID", "tlsCAPath", "decryptKeyIDs", "allowRedirectTo"} <= set(keys)

    def test_each_is_described(self):
        for field in fields_of(VaultSettings):
            assert field.info.help.endswith("."), field.key


class TestServer:
    """Settings and environment together."""

    def test_environment_stands_in(self):
        environ = {
            "VAULT_ADDR": URL + "/",
            "VAULT_TOKEN": "t-1",
            "VAULT_NAMESPACE": "team/a/",
            "VAULT_CACERT": "/env/ca.pem",
        }
        found = server(environ=environ)
        assert found.endpoint == URL
        assert found.token is not None
        assert found.token.reveal() == "t-1"
        assert found.namespace == "team/a"
        assert found.ca == Path("/env/ca.pem")

    def test_file_counts_more(self):
        environ = {"VAULT_ADDR": "rubbish", "VAULT_NAMESPACE": "\n", "VAULT_CACERT": "/env/ca.pem"}
        found = server(environ=environ, endpoint=URL, namespace="", tlsCAPath=Path("ca.pem"))
        assert (found.endpoint, found.namespace) == (URL, "")
        assert found.ca == Path("/etc/app/ca.pem")

    @pytest.mark.parametrize(
        ("cls", "mine", "other"),
        [(VaultSettings, "VAULT", "BAO"), (OpenBaoSettings, "BAO", "VAULT")],
    )
    def test_each_reads_its_own_variables(self, cls: type[VaultSettings], mine: str, other: str):
        assert server(cls, {f"{mine}_ADDR": URL, f"{other}_TOKEN": "t"}).token is None
        with pytest.raises(ConfigError, match=rf"vault\.endpoint: .* {mine}_ADDR isn't set"):
            server(cls, {f"{other}_ADDR": URL})

    @pytest.mark.parametrize(("name", "key"), [("ADDR", "endpoint"), ("NAMESPACE", "namespace")])
    def test_rubbish_in_a_variable(self, name: str, key: str):
        """It is named by variable and key, and not shown."""
        environ = {"VAULT_ADDR": URL, f"VAULT_{name}": "unix://hunter2 x"}
        with pytest.raises(ConfigError, match=rf"vault\.{key}: VAULT_{name}") as caught:
            server(environ=environ)
        assert "hunter2" not in str(caught.value)

    def test_redirects(self):
        """The endpoint itself, and what is listed."""
        found = server(endpoint=URL, allowRedirectTo=["Vault-1.example.com", "[::1]:8200"])
        assert found.redirects == {
            Origin("vault.example.com", 8200),
            Origin("vault-1.example.com", None),
            Origin("::1", 8200),
        }

    def test_empty_proxy(self):
        """As `${HTTPS_PROXY:-}` gives."""
        assert server(endpoint=URL, proxy=Secret("")).proxy is None

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_never_copied(self, duplicate: Any):
        with pytest.raises(TypeError, match="can't be pickled or copied"):
            duplicate(server(endpoint=URL))

    def test_secrets_stay_hidden(self):
        environ = {"VAULT_TOKEN": "hunter2"}
        found = server(environ=environ, endpoint=URL, proxy=Secret("http://u:hunter2@proxy"))
        assert "hunter2" not in repr(found)
        assert "hunter2" not in repr(attrs.asdict(found, recurse=False))
