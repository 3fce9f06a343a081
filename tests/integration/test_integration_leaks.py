"""A run of everything with known secrets and everything logged; then the search for them."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration._leaks import Logged, Secrets, everything_logged, reachable
from tests.vault._openbao import Relay

from keyhinge import EncryptedValue, KeyhingeError, KeyManager, OperationError
from keyhinge_store import NewSecret, SecretStore, migrate, rewrap, status, verify

PLAINTEXT = "pl41nt3xt-0f-a-cust0mer"
CONTEXT = {"account": "acct_1"}
Settings = dict[str, Any]
Blocks = dict[str, Settings]


@pytest.fixture
def blocks(sections: Blocks, bao: Any, bao_section: Callable[..., Settings]) -> Blocks:
    """One section for each way to log in."""

    def logging_in(method: Callable[..., Settings]) -> Settings:
        block = bao_section("openbao")
        del block["token"]
        return {**block, **method([bao.transit_policy(block["keyID"])])}

    return {
        **sections,
        "userpass": logging_in(bao.userpass),
        "approle": logging_in(bao.approle),
        "jwt": logging_in(lambda policies: bao.jwt(policies)[0]),
    }


@pytest.fixture
def secrets(blocks: Blocks) -> Secrets:
    """All that must not show."""
    key_file = json.loads(Path(blocks["local"]["keyFile"]).read_text())
    return Secrets(
        plaintext=PLAINTEXT,
        aws=blocks["aws"]["secretKey"],
        vault=blocks["vault"]["token"],
        openbao=blocks["openbao"]["token"],
        password=blocks["userpass"]["password"],
        secret_id=blocks["approle"]["secretID"],
        jwt=blocks["jwt"]["token"],
        local=base64.b64decode(key_file["versions"][0]["key"]).hex(),
        local_text=key_file["versions"][0]["key"],
    )


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Everything that is logged, also by the client libraries."""
    names = (
        "keyhinge",
        "urllib3.connectionpool",
        "requests",
        "hvac",
        "botocore",
        "boto3",
        "sqlalchemy",
    )
    handler, before = everything_logged(names)
    debug = http.client.HTTPConnection.debuglevel
    yield handler
    http.client.HTTPConnection.debuglevel = debug
    logging.getLogger().removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def keys(blocks: Blocks, logged: Logged) -> Iterator[KeyManager]:
    """A manager with all sections."""
    with KeyManager.open({"keyManagement": {"provider": "vault", **blocks}}, environ={}) as opened:
        yield opened


def failing(call: Callable[[], object]) -> KeyhingeError:
    """Call, and give our error."""
    with pytest.raises(KeyhingeError) as raised:
        call()
    return raised.value


NAMES = ("vault", "openbao", "userpass", "approle", "jwt", "aws", "local")


@pytest.mark.parametrize("name", NAMES)
def test_what_works(keys: KeyManager, secrets: Secrets, logged: Logged, name: str) -> None:
    """Logs, reports and representations, of a whole life of a section."""
    value = keys.encrypt(PLAINTEXT.encode(), context=CONTEXT, section=name)
    assert keys.decrypt(value, context=CONTEXT) == PLAINTEXT.encode()
    keys.decrypt(keys.rewrap(value, context=CONTEXT), context=CONTEXT)
    shown = [repr(value), repr(keys), repr(keys.check(name)), repr(keys.current_key(name))]
    shown += [repr(keys.health()), repr(keys.capabilities(name))]
    for each in (*shown, *logged.lines):
        assert secrets.found_in(each) == set()
    for attempt in (lambda: pickle.dumps(keys), lambda: repr(vars(keys))):
        try:
            text = attempt()
        except TypeError:
            continue
        assert secrets.found_in(text) == set()


@pytest.mark.parametrize("name", NAMES)
def test_what_fails(keys: KeyManager, secrets: Secrets, logged: Logged, name: str) -> None:
    """Wrong contexts, changed values, strangers' values: alone and in batches."""
    value = keys.encrypt(PLAINTEXT.encode(), context=CONTEXT, section=name)
    cut = EncryptedValue(name, value.key_id, value.version, value.ciphertext[:-1])
    stranger = EncryptedValue(name, value.key_id + "x", value.version, value.ciphertext)
    errors: list[BaseException] = [
        failing(lambda: keys.decrypt(value, context={"account": "acct_2"})),
        failing(lambda: keys.decrypt(cut, context=CONTEXT)),
        failing(lambda: keys.decrypt(stranger, context=CONTEXT)),
        failing(lambda: keys.rewrap(cut, context=CONTEXT)),
        failing(lambda: keys.encrypt(PLAINTEXT, context=CONTEXT)),  # type: ignore[arg-type]
        failing(lambda: keys.encrypt(PLAINTEXT.encode(), context={"keyhinge": "1"})),
    ]
    from keyhinge import Decrypt

    items = [Decrypt(value, CONTEXT), Decrypt(cut, CONTEXT), Decrypt(value, {"account": "x"})]
    for outcomes in (keys.decrypt_many(items), keys.rewrap_many(items)):
        errors += [outcome.error for outcome in outcomes if outcome.error is not None]
    assert len(errors) == 10
    for error in errors:
        assert secrets.found_in_error(error) == set(), repr(error)
        assert error.__cause__ is None
        assert error.__context__ is None
    for line in logged.lines:
        assert secrets.found_in(line) == set()


class TestServices:
    """Services that refuse, lie, echo or are away."""

    @pytest.fixture
    def relay(self, bao: Any) -> Iterator[Relay]:
        """A proxy before OpenBao that can answer in its place."""
        made = Relay(bao.url)
        yield made
        made.close()

    @pytest.mark.parametrize("status", [400, 403, 404, 500, 200, 0])
    @pytest.mark.parametrize("name", ["vault", "userpass", "approle", "jwt"])
    def test_openbao(
        self,
        blocks: Blocks,
        secrets: Secrets,
        logged: Logged,
        relay: Relay,
        name: str,
        status: int,
    ) -> None:
        """An answer that repeats the request, headers and all; or none."""

        def answer(seen: Any) -> Any:
            if not status:
                return "drop"
            text = json.dumps({"errors": [seen.body.decode(), json.dumps(seen.headers)]})
            return status, {"Content-Type": "application/json"}, text.encode()

        relay.intercept = answer
        block = {**blocks[name], "endpoint": relay.url, "retryFor": 0.5, "timeout": 2}
        with KeyManager.open(
            {"keyManagement": {"provider": name, name: block}}, environ={}
        ) as keys:
            error = failing(lambda: keys.encrypt(PLAINTEXT.encode(), context=CONTEXT))
            assert isinstance(error, OperationError)
            assert secrets.found_in_error(error) == set(), repr(error)
            assert secrets.found_in(repr(keys.check())) == set()
            assert secrets.found_in(repr(keys.health())) == set()
        for line in logged.lines:
            assert secrets.found_in(line) == set()

    def test_a_revoked_token(
        self, bao: Any, blocks: Blocks, secrets: Secrets, logged: Logged, keys: KeyManager
    ) -> None:
        keys.encrypt(PLAINTEXT.encode(), context=CONTEXT)
        bao.revoke(blocks["vault"]["token"])
        error = failing(lambda: keys.encrypt(PLAINTEXT.encode(), context=CONTEXT))
        assert secrets.found_in_error(error) == set()
        for line in (*logged.lines, repr(keys.check())):
            assert secrets.found_in(line) == set()


def test_the_database_and_its_moves(
    keys: KeyManager, blocks: Blocks, secrets: Secrets, logged: Logged, tmp_path: Path
) -> None:
    """Reports, logs and the database file; a value that can't be opened is among them."""
    file = tmp_path / "secrets.db"
    store = SecretStore(f"sqlite:///{file}", keys)
    store.create_tables()
    store.put_many(NewSecret("acct", "kind", f"{PLAINTEXT}-{n}", f"sec_{n}") for n in range(20))
    shown: list[str] = []
    for name in ("aws", "openbao", "local", "userpass"):
        block = {"provider": name, **blocks}
        with KeyManager.open({"keyManagement": block}, environ={}) as target:
            shown.append(repr(migrate(store, target)))
            shown.append(repr(rewrap(store, target)))
            shown += [repr(status(store, target)), repr(verify(store, target))]
            assert verify(store, target).opened == 20
    shown += [repr(store), repr(store.list())]
    store.close()
    assert secrets.found_in(file.read_bytes()) == set()
    for text in (*shown, *logged.lines):
        assert secrets.found_in(text) == set()


def test_the_command(blocks: Blocks, secrets: Secrets, tmp_path: Path) -> None:
    """What each command prints, with and without --json; sections that fail among them."""
    broken = {**blocks["vault"], "token": "s.n0t-a-v4l1d-t0ken-0000000", "retryFor": 0}
    down = {**blocks["aws"], "endpoint": "http://127.0.0.1:9", "timeout": 1}
    more = {"broken": {**broken, "type": "vault"}, "down": {**down, "type": "aws"}}
    sections = {"provider": "vault", **blocks, **more}
    file = {"keyManagement": sections, "store": {"url": "sqlite:///s.db"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(file), encoding="utf-8")
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for arguments in (
        ["store", "init"],
        ["secrets", "put", "--account", "a", "--kind", "k", "--id", "s1"],
        ["check"],
        ["check", "--json"],
        ["status", "--json"],
        ["verify"],
        ["migrate", "--dry-run"],
        ["config", "check"],
        ["config", "show"],
        ["secrets", "list"],
        ["providers", "--load"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "keyhinge_cli", *arguments],
            cwd=tmp_path,
            env=environ,
            input=PLAINTEXT.encode() if "put" in arguments else b"",
            capture_output=True,
            check=False,
            timeout=90,
        )
        assert secrets.found_in(done.stdout + done.stderr) == set(), arguments
    assert secrets.found_in((tmp_path / "s.db").read_bytes()) == set()


def test_the_configuration(blocks: Blocks, secrets: Secrets) -> None:
    """As it was read, with all settings."""
    from keyhinge.config import read_configuration

    file = {"keyManagement": {"provider": "vault", **blocks}}
    configuration = read_configuration(file, environ={})
    assert secrets.found_in(repr(configuration)) == set()
    shown = [getattr(configuration, name) for name in dir(configuration) if name[0] != "_"]
    assert secrets.found_in(repr(shown)) == set()


class TestTheSearch:
    """It would find something."""

    def test_in_all_forms(self) -> None:
        secrets = Secrets(one=PLAINTEXT)
        raw = PLAINTEXT.encode()
        for text in (
            raw,
            b"{" + raw + b"}",
            raw.hex().encode(),
            base64.b64encode(b"a" + raw + b"bc"),
            base64.b64encode(b"ab" + raw),
            base64.b64encode(raw + b"xyz"),
            repr({"x": [PLAINTEXT]}),
        ):
            assert secrets.found_in(text) == {"one"}
        assert secrets.found_in("nothing") == set()

    @pytest.mark.parametrize("token", ["s.abcdefghij0123456789ABCD", "hvs.CAESIAabcdefghij0123456"])
    def test_tokens_of_servers(self, token: str) -> None:
        assert Secrets().found_in(f"X-Vault-Token: {token}") == {"token"}

    def test_in_what_an_error_refers_to(self) -> None:
        class Holder:
            kept = None

        error = KeyhingeError("x")
        error.holder = Holder()  # type: ignore[attr-defined]
        error.holder.kept = {"a": (PLAINTEXT,)}  # type: ignore[attr-defined]
        assert PLAINTEXT in list(reachable(error))
        assert Secrets(one=PLAINTEXT).found_in_error(KeyhingeError(PLAINTEXT)) == {"one"}
