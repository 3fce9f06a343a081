"""Configuration files as operators have them pass `keyhinge check`, against real servers.

The blocks have the keys of the configurations that are in use already, unchanged, in a file that
also has what belongs to the application. The command runs as a program of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

Settings = dict[str, Any]
REST = """
# What belongs to the application is left alone.
environment: production
server:
  listenPort: 4000
postgreSql: {address: localhost, password: "not-ours"}
"""


class Checked(NamedTuple):
    """What `keyhinge check --json` said."""

    code: int
    findings: list[dict[str, Any]]
    output: str

    def levels(self, level: str) -> set[str]:
        """Give the codes of the findings of one level."""
        return {each["code"] for each in self.findings if each["level"] == level}


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Checked]:
    """Write a file and check it: `check("vault", {...})`."""

    def run(name: str, block: Settings, **environ: str) -> Checked:
        section = yaml.safe_dump({name: block}, sort_keys=False, default_flow_style=False)
        indented = "".join(f"  {line}\n" for line in section.splitlines())
        text = f'keyManagement:\n  provider: "{name}"\n{indented}{REST}'
        (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
        return keyhinge_check(tmp_path, **environ)

    return run


def keyhinge_check(folder: Path, **environ: str) -> Checked:
    """Run the command in a folder."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "keyhinge_cli", "check", "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **environ},
        timeout=60,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    findings = [event for event in events if event.get("event") == "finding"]
    return Checked(done.returncode, findings, done.stdout + done.stderr)


def passes(checked: Checked) -> None:
    """See to it that everything works."""
    assert checked.code == 0, checked.output
    assert checked.levels("error") == set(), checked.output
    assert {"round-trip", "context"} <= checked.levels("ok"), checked.output


class TestVault:
    """The three methods that are in use, and those beyond."""

    @pytest.fixture
    def key(self, bao: Any) -> str:
        """A Transit key."""
        name: str = bao.key()
        return name

    @pytest.fixture
    def base(self, bao: Any, key: str) -> Settings:
        """What all of them have."""
        return {"keyID": key, "endpoint": bao.url, "insecureSkipVerify": False}

    @pytest.fixture
    def policy(self, bao: Any, key: str) -> list[str]:
        """The policy of an application."""
        return [bao.transit_policy(key)]

    def test_token(self, check, bao, base, policy):
        passes(check("vault", {**base, "authMethod": "token", "token": bao.token(policy)}))

    def test_token_file(self, check, bao, base, policy, tmp_path):
        (tmp_path / "token").write_text(bao.token(policy) + "\n")
        passes(check("vault", {**base, "authMethod": "token", "tokenFile": "token"}))

    def test_userpass(self, check, bao, base, policy):
        passes(check("vault", {**base, **bao.userpass(policy)}))

    def test_kubernetes(self, check, bao, base, policy, kubernetes, tmp_path):
        """The service account's token stands where the file says, since this is no pod."""
        block = bao.kubernetes(kubernetes, tmp_path / "sa-token", policy)
        passes(check("vault", {**base, **block}))
        assert "app" in kubernetes.reviews

    def test_approle(self, check, bao, base, policy):
        passes(check("vault", {**base, **bao.approle(policy)}))

    def test_jwt(self, check, bao, base, policy):
        block, _ = bao.jwt(policy)
        passes(check("vault", {**base, **block}))

    def test_openbao(self, check, bao, base, policy):
        """The same file under the other name."""
        passes(check("openbao", {**base, "authMethod": "token", "token": bao.token(policy)}))

    def test_without_context_in_the_key_s_mode(self, check, bao, base):
        """A derived key, without a word in the file."""
        key = bao.key(derived=True)
        token = bao.token([bao.transit_policy(key)])
        passes(check("vault", {**base, "keyID": key, "token": token}))

    def test_the_environment(self, check, bao, key, policy):
        environ = {"VAULT_ADDR": bao.url, "VAULT_TOKEN": bao.token(policy)}
        passes(check("vault", {"keyID": key, "authMethod": "token"}, **environ))

    @pytest.mark.parametrize("spelling", ["keyId", "keyid", "KEYID"])
    def test_other_capitals(self, check, bao, base, policy, spelling):
        """As guides in use write it; with a warning, which isn't an error."""
        block = {**base, "token": bao.token(policy)}
        block[spelling] = block.pop("keyID")
        passes(check("vault", block))


class TestTls:
    """A server that wants client certificates."""

    @pytest.fixture
    def key(self, tls_bao: Any) -> str:
        """A Transit key."""
        name: str = tls_bao.key()
        return name

    @pytest.fixture
    def base(self, tls_bao: Any, tls: Any, key: str) -> Settings:
        """The keys of the example, all of them."""
        return {
            "keyID": key,
            "endpoint": tls_bao.url,
            **tls.settings(),
            "insecureSkipVerify": False,
        }

    @pytest.fixture
    def policy(self, tls_bao: Any, key: str) -> list[str]:
        """The policy of an application."""
        return [tls_bao.transit_policy(key)]

    def test_mutual_tls_and_a_token(self, check, tls_bao, base, policy):
        passes(check("vault", {**base, "authMethod": "token", "token": tls_bao.token(policy)}))

    def test_mutual_tls_and_kubernetes(self, check, tls_bao, base, policy, kubernetes, tmp_path):
        """The example as it stands in guides: kubernetes, role, and all three TLS files."""
        block = tls_bao.kubernetes(kubernetes, tmp_path / "sa-token", policy)
        passes(check("vault", {**base, **block}))

    def test_cert(self, check, tls_bao, base, policy):
        passes(check("vault", {**base, **tls_bao.cert(policy)}))

    def test_no_client_certificate(self, check, tls_bao, base, policy):
        """It doesn't pass, and says why; nothing else would mean much otherwise."""
        block = {**base, "token": tls_bao.token(policy)}
        del block["tlsCertificatePath"], block["tlsKeyPath"]
        checked = check("vault", block)
        assert checked.code in (1, 75)
        assert checked.levels("error")

    def test_another_authority(self, check, tls_bao, base, policy, tmp_path):
        from tests.vault._openbao import Tls

        other = Tls(tmp_path / "other")
        block = {**base, "token": tls_bao.token(policy), "tlsCAPath": str(other.ca_path)}
        assert check("vault", block).code in (1, 75)


class TestAws:
    """The five keys of the example."""

    def test_explicit_keys(self, check, aws_section):
        assert set(aws_section) == {"region", "accessKey", "secretKey", "keyID", "endpoint"}
        passes(check("aws", aws_section))

    def test_the_chain(self, check, aws_section):
        """Without keys: those of the environment."""
        block = {name: aws_section[name] for name in ("region", "keyID", "endpoint")}
        environ = {
            "AWS_ACCESS_KEY_ID": aws_section["accessKey"],
            "AWS_SECRET_ACCESS_KEY": aws_section["secretKey"],
        }
        passes(check("aws", block, **environ))

    def test_the_endpoint_of_the_environment(self, check, aws_section):
        block = {name: text for name, text in aws_section.items() if name != "endpoint"}
        passes(check("aws", block, AWS_ENDPOINT_URL_KMS=aws_section["endpoint"]))

    def test_the_region_of_the_example(self, check, aws_section):
        """`us-east1` is what the example says, and no region of AWS's."""
        checked = check("aws", {**aws_section, "region": "us-east1"})
        assert checked.code == 2
        assert "did you mean us-east-1?" in checked.output


def test_plaintext(check):
    """Nothing further is needed; that nothing is encrypted is said, and no error."""
    checked = check("plaintext", {})
    assert checked.code == 0
    assert "not-encrypted" in checked.levels("warning")


def test_all_sections_of_one_file(tmp_path, sections):
    """The outline of the example: one provider, and the blocks of the others beside it."""
    file = {"keyManagement": {"provider": "aws", **sections}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
    checked = keyhinge_check(tmp_path)
    assert checked.code == 0, checked.output
    assert {each["section"] for each in checked.findings} == set(sections)
    for name in ("vault", "openbao", "aws", "local"):
        codes = {each["code"] for each in checked.findings if each["section"] == name}
        assert "round-trip" in codes
