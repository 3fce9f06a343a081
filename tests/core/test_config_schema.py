"""The JSON Schema agrees with the loader; the reference table has every key."""

import enum
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import jsonschema
import pytest
import yaml

from keyhinge._errors import ConfigError
from keyhinge._secret import Secret
from keyhinge._settings import secret, setting, settings
from keyhinge.config._configuration import load_configuration
from keyhinge.config._reference import reference
from keyhinge.config._schema import json_schema


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@settings
class Vault:
    """Transit, in Vault.

    More words that don't belong into a schema.
    """

    key_id: str = setting(alias="keyID", help="The Transit key.", example="monetr")
    auth_method: Literal["token", "kubernetes"] = setting(alias="authMethod", default="token")
    token: Secret | None = secret(default=None, help="The token.")
    endpoint: str | None = None
    tls_ca_path: Path | None = setting(alias="tlsCAPath", default=None)
    insecure_skip_verify: bool = False
    timeout: float = setting(default=5.0, minimum=0.5, maximum=60)
    retries: int | None = None
    decrypt_key_ids: list[str] = setting(alias="decryptKeyIDs", factory=list)
    colour: Colour = Colour.RED
    labels: dict[str, str | list[str]] = setting(factory=dict)


@settings
class Needy:
    """A secret is required."""

    key: Secret = secret()


@settings
class Nothing:
    """No settings."""


@settings
class Table:
    """A table of the application's."""

    table: str
    primary_key: tuple[str, ...] = setting(alias="primaryKey", default=("id",))


@settings
class Store:
    """Where secrets are kept."""

    url: Secret | None = secret(default=None, file_twin=False)
    tables: tuple[Table, ...] = ()


PROVIDERS = {"vault": Vault, "openbao": Vault, "needy": Needy, "plaintext": Nothing}
SCHEMA = json_schema(PROVIDERS, blocks={"store": Store})
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

GOOD = [
    "keyManagement:",
    "keyManagement: {}",
    "keyManagement: {options: {requireEncryption: true}}",
    "keyManagement: {provider: plaintext}",
    "keyManagement: {provider: plaintext, plaintext: }",
    "application: {a: [1]}\nkeyManagement: {provider: plaintext, plaintext: {}}",
    "keyManagement: {provider: vault, vault: {keyID: a, authMethod: kubernetes, timeout: 5}}",
    "keyManagement: {provider: vault, vault: {keyID: a, token: x, insecureSkipVerify: false}}",
    "keyManagement: {provider: vault, vault: {keyID: a, tokenFile: x, retries: '${N:-5}'}}",
    "keyManagement: {provider: '${P:-vault}', vault: {keyID: '${K:-a}', timeout: '${T:-2.5}'}}",
    "keyManagement: {provider: vault, vault: {keyID: a, insecureSkipVerify: '${S:-true}'}}",
    "keyManagement: {provider: vault, vault: {keyID: a, authMethod: '${M:-token}'}}",
    "keyManagement: {provider: vault, vault: {keyID: a, token: , endpoint: ~, retries: null}}",
    "keyManagement: {provider: eu, eu: {type: vault, aliases: [old-eu], keyID: a}}",
    "keyManagement: {provider: vault, vault: {type: openbao, keyID: a}}",
    "keyManagement: {provider: needy, needy: {key: x}}",
    "keyManagement: {provider: needy, needy: {keyFile: x}}",
    "keyManagement: {provider: vault, vault: {keyID: a, decryptKeyIDs: [b, c], colour: blue}}",
    "keyManagement: {provider: vault, vault: {keyID: a, labels: {x: a, z: [b]}}}",
    "keyManagement: {provider: plaintext, observers: [app.audit:observer]}",
    "keyManagement: {}\nstore: {url: sqlite:///app.db, tables: [{table: t, primaryKey: [a, b]}]}",
]

BAD = [
    "",
    "[]",
    "application: {}",
    "keyManagement: plaintext",
    "keyManagement: {vault: {keyID: a}}",
    "keyManagement: {provider: '', vault: {keyID: a}}",
    "keyManagement: {provider: 5, vault: {keyID: a}}",
    "keyManagement: {provider: vault, vault: {}}",
    "keyManagement: {provider: vault, vault: }",
    "keyManagement: {provider: vault, vault: {keyID: 0123}}",
    "keyManagement: {provider: vault, vault: {keyID: no}}",
    "keyManagement: {provider: vault, vault: {keyID: a, nope: b}}",
    "keyManagement: {provider: vault, vault: {keyID: a, authMethod: magic}}",
    "keyManagement: {provider: vault, vault: {keyID: a, token: x, tokenFile: y}}",
    "keyManagement: {provider: vault, vault: {keyID: a, insecureSkipVerify: 'true'}}",
    "keyManagement: {provider: vault, vault: {keyID: a, timeout: 0.1}}",
    "keyManagement: {provider: vault, vault: {keyID: a, timeout: '5'}}",
    "keyManagement: {provider: vault, vault: {keyID: a, timeout: }}",
    "keyManagement: {provider: vault, vault: {keyID: a, retries: 2.5}}",
    "keyManagement: {provider: vault, vault: {keyID: a, decryptKeyIDs: b}}",
    "keyManagement: {provider: vault, vault: {keyID: a, colour: green}}",
    "keyManagement: {provider: vault, vault: {keyID: a, aliases: [store]}}",
    "keyManagement: {provider: vault, vault: {keyID: a, aliases: old}}",
    "keyManagement: {provider: eu, eu: {type: needy}}",
    "keyManagement: {provider: needy, needy: {key: x, keyFile: z}}",
    "keyManagement: {provider: vault_eu, vault_eu: {type: vault, keyID: a}}",
    "keyManagement: {provider: plaintext, config: {type: plaintext}}",
    "keyManagement: {provider: plaintext, requireEncryption: true}",
    "keyManagement: {options: {requireEncrytion: true}}",
    "keyManagement: {options: {requireEncryption: 'yes'}}",
    "keyManagement: {provider: plaintext, plaintext: {x: 1}}",
    "keyManagement: {}\nstore: {tables: [{}]}",
    "keyManagement: {}\nstore: {tabels: []}",
]


def load_all(text: str) -> None:
    """Load a file and structure everything in it, as `config check` does."""
    path = Path("config.yaml")
    path.write_text(text)
    configuration = load_configuration(path, {})
    for name, section in configuration.sections.items():
        configuration.structure_section(name, PROVIDERS[section.type])
    configuration.structure_block("store", Store)


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class TestSchema:
    def test_is_a_schema(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        assert json.loads(json.dumps(SCHEMA)) == SCHEMA

    @pytest.mark.parametrize("text", GOOD)
    def test_good_files(self, text):
        VALIDATOR.validate(yaml.safe_load(text))
        load_all(text)

    @pytest.mark.parametrize("text", BAD)
    def test_bad_files(self, text):
        assert not VALIDATOR.is_valid(yaml.safe_load(text))
        with pytest.raises(ConfigError):
            load_all(text)

    @pytest.mark.parametrize(
        "text",
        [
            "keyManagement: {provider: eu, eu: {keyID: a}}",
            "keyManagement: {provider: eu, eu: {type: valt, keyID: a}}",
        ],
    )
    def test_unknown_providers(self, text):
        """The loader leaves these to whoever looks for the provider."""
        assert not VALIDATOR.is_valid(yaml.safe_load(text))

    def test_words_for_editors(self):
        vault = SCHEMA["$defs"]["provider-vault"]
        assert vault["description"] == "Transit, in Vault."
        assert vault["properties"]["keyID"]["description"] == "The Transit key."
        assert vault["properties"]["timeout"]["default"] == 5.0
        assert vault["properties"]["colour"]["default"] == "red"
        assert vault["properties"]["token"]["writeOnly"] is True
        assert "default" not in vault["properties"]["token"]
        assert "'token'" in vault["properties"]["tokenFile"]["description"]

    def test_types_that_settings_cannot_have(self):
        odd = attrs.make_class("Odd", {"odd": attrs.field(type=Any)})
        with pytest.raises(TypeError, match="isn't a type that settings can have"):
            json_schema({"odd": odd})


class TestReference:
    def test_rows(self):
        rows = {row.key: row for row in reference(Vault)}
        assert list(rows) == [
            "keyID", "authMethod", "token", "tokenFile", "endpoint", "tlsCAPath",
            "insecureSkipVerify", "timeout", "retries", "decryptKeyIDs", "colour", "labels",
        ]  # fmt: skip
        key = rows["keyID"]
        assert (key.type, key.required, key.default) == ("text", True, "")
        assert (key.description, key.example) == ("The Transit key.", "monetr")
        assert rows["authMethod"].type == "`token`, `kubernetes`"
        assert (rows["token"].type, rows["tokenFile"].type) == ("secret", "path")
        assert rows["insecureSkipVerify"].default == "false"
        assert (rows["timeout"].type, rows["timeout"].default) == ("number", "5.0")
        assert rows["decryptKeyIDs"].type == "list of text"
        assert (rows["colour"].type, rows["colour"].default) == ("`red`, `blue`", "red")
        assert rows["labels"].type == "mapping to text or list of text"

    def test_nested(self):
        rows = [(row.key, row.type, row.default) for row in reference(Store)]
        assert rows == [
            ("url", "secret", ""),
            ("tables", "list of block", "[]"),
            ("tables[].table", "text", ""),
            ("tables[].primaryKey", "list of text", "[id]"),
        ]

    def test_nested_blocks_and_mappings(self):
        @settings
        class Outer:
            inner: Table | None = None
            words: Mapping[str, str] = setting(factory=lambda: {"a": "b"})

        rows = [(row.key, row.type, row.default) for row in reference(Outer)]
        assert rows == [
            ("inner", "block", ""),
            ("inner.table", "text", ""),
            ("inner.primaryKey", "list of text", "[id]"),
            ("words", "mapping to text", "{a: b}"),
        ]
