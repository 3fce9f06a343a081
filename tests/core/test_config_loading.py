"""Finding the file, choosing the primary, and never plaintext by accident."""

import traceback
from pathlib import Path

import pytest

from keyhinge._errors import ConfigError
from keyhinge._secret import Secret
from keyhinge._settings import secret, setting, settings
from keyhinge.config._configuration import load_configuration, read_configuration

MARKER = "S3CR3T-marker"


@settings
class Vault:
    """Settings as a provider has them."""

    key_id: str = setting(alias="keyID")
    token: Secret | None = secret(default=None)
    endpoint: str = "https://localhost:8200"
    timeout: float = 5.0


@settings
class Nothing:
    """A provider without settings."""


@settings
class Store:
    """The store's block."""

    url: str | None = None


@pytest.fixture
def load(tmp_path):
    """Load a configuration from the text of a file."""

    def load(text: str, **environ: str):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load_configuration(path, environ)

    return load


@pytest.fixture
def refuse(load):
    """Give the message of a configuration that has to be wrong."""

    def refuse(text: str, **environ: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(text, **environ)
        assert MARKER not in str(caught.value)
        assert MARKER not in repr(caught.value.problems)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        return str(caught.value)

    return refuse


class TestFile:
    def test_path(self, tmp_path):
        path = tmp_path / "other.yaml"
        path.write_text("keyManagement: {provider: plaintext}")
        for config in (path, str(path)):
            configuration = load_configuration(config, {})
            assert configuration.path == path
            assert configuration.base_dir == tmp_path
            assert configuration.primary == "plaintext"

    def test_variable_then_current_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("config.yaml").write_text("keyManagement: {provider: plaintext}")
        Path("other.yaml").write_text("keyManagement: {provider: vault, vault: {}}")
        assert load_configuration(None, {}).primary == "plaintext"
        assert load_configuration(None, {"KEYHINGE_CONFIG": ""}).primary == "plaintext"
        assert load_configuration(None, {"KEYHINGE_CONFIG": "other.yaml"}).primary == "vault"
        assert load_configuration(None, {}).base_dir == tmp_path
        monkeypatch.setenv("KEYHINGE_CONFIG", "other.yaml")
        assert load_configuration().primary == "vault"

    def test_relative_paths_start_at_the_link_not_its_target(self, tmp_path):
        """In Kubernetes the file is a link into a folder with another name."""
        (tmp_path / "..data").mkdir()
        (tmp_path / "..data/config.yaml").write_text("keyManagement: {}")
        (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
        assert load_configuration(tmp_path / "config.yaml", {}).base_dir == tmp_path

    def test_missing(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for config, environ, words in (
            ("nope.yaml", {}, ["nope.yaml doesn't exist"]),
            (
                None,
                {"KEYHINGE_CONFIG": "x/y.yaml"},
                ["x/y.yaml doesn't", "KEYHINGE_CONFIG names it"],
            ),
            (None, {}, ["config.yaml doesn't exist", str(tmp_path), "KEYHINGE_CONFIG isn't set"]),
        ):
            with pytest.raises(ConfigError) as caught:
                load_configuration(config, environ)
            for word in [*words, "keyhinge init"]:
                assert word in str(caught.value)

    def test_unreadable(self, tmp_path):
        with pytest.raises(ConfigError, match="is a folder"):
            load_configuration(tmp_path, {})
        with pytest.raises(ConfigError, match="the path of the configuration file isn't one"):
            load_configuration("a\0b", {})
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(ConfigError, match="symbolic links"):
            load_configuration(tmp_path / "loop", {})

    @pytest.mark.parametrize("config", [5, b"config.yaml", ["config.yaml"]])
    def test_wrong_type(self, config):
        with pytest.raises(TypeError, match="a path or a mapping"):
            load_configuration(config, {})

    def test_mapping(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        configuration = load_configuration(
            {"keyManagement": {"provider": "v", "v": {}}, "x": 6}, {}
        )
        assert (configuration.path, configuration.base_dir) == (None, tmp_path)
        assert configuration.primary == "v"

    def test_the_error_does_not_hold_the_file(self, tmp_path, monkeypatch):
        """An error reporter that collects frames finds nothing of the file or the environment."""
        monkeypatch.setenv("APPLICATION_PASSWORD", MARKER)
        path = tmp_path / "config.yaml"
        path.write_text(f"keyManagement: {{token: '{MARKER}")
        with pytest.raises(ConfigError) as caught:
            load_configuration(path)
        frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
        assert frames
        assert all(MARKER not in repr(frame.f_locals) for frame in frames)


class TestNeverPlaintextByAccident:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "the file is empty"),
            ("# only a comment\n", "the file is empty"),
            ("---\n", "the file is empty"),
            ("null\n", "must be a mapping"),
            ("- keyManagement\n", "must be a mapping"),
            ("{}", "keyManagement: this key is missing"),
            ("application: {}\n", "keyManagement: this key is missing"),
            ("key_management:\n", "Did you mean 'keyManagement'?"),
            ("key-management:\n", "Did you mean 'keyManagement'?"),
            ("keyManagment:\n", "Did you mean 'keyManagement'?"),
            ("keymanagement-x:\n", "Did you mean 'keyManagement'?"),
            ("keyManagements:\n", "Did you mean 'keyManagement'?"),
            ("keyManagement: plaintext\n", "must be a block"),
            ("keyManagement:\nprovider: local\nlocal: {keyFile: k}\n", "Indent what belongs"),
            ("keyManagement: ~\nProvider: local\n", "Indent what belongs"),
            ("keyManagement: ''\n", "must be a block"),
            ("keyManagement: []\n", "must be a block"),
            ("keyManagement: ${X:-}\n", "must be a block"),
            ("keyManagement: {}\nkeyManagement: {provider: a, a: {}}\n", "stands here twice"),
            ("keyManagement: {}\nkeymanagement: {}\n", "differ only in case"),
            ("keyManagement: {vault: {}}\n", "keyManagement.provider (line 1): this key is"),
            ("keyManagement: {plaintext: {}}\n", "provider (line 1): this key is missing"),
            ("keyManagement: {provider: , vault: {}}\n", "is empty"),
            ("keyManagement: {provider: ''}\n", "is empty"),
            ("keyManagement: {provider: }\n", "is empty"),
            ("keyManagement: {provider: null, vault: {}}\n", "is empty"),
            ("keyManagement: {provider: '${EMPTY}', vault: {}}\n", "is empty"),
            ("keyManagement: {provider: '${X:-}', vault: {}}\n", "is empty"),
            ("keyManagement: {provider: '${UNSET}'}\n", "variable UNSET isn't set"),
            ("keyManagement: {provider: vault}\n", "the file has none"),
            ("keyManagement: {provider: vualt, vault: {}}\n", "Did you mean 'vault'?"),
            ("keyManagement: {provider: S3CR3T-marker, vault: {}}\n", "there are: vault."),
            ("keyManagement: {provider: no}\n", "must name the section"),
            ("keyManagement: {provider: [plaintext]}\n", "must name the section"),
            ("keyManagement: {provider: {}}\n", "must name the section"),
            ("keyManagement: {provider: &x plaintext}\n", "anchors"),
            ("keyManagement: {provider: plaintext, provider: vault, vault: {}}\n", "twice"),
            ("keyManagement: {provider: plaintext, Provider: vault, vault: {}}\n", "only in case"),
            ("keyManagement: {providr: vault}\n", "Did you mean 'provider'?"),
            ("keyManagement: {provider: Plaintext}\n", "the file has none"),
            ("keyManagement: {requireEncryption: true}\n", "stands under 'options'"),
            ("keyManagement: {require_encryption: }\n", "stands under 'options'"),
            ("keyManagement: {option: {requireEncryption: true}}\n", "Did you mean 'options'?"),
            ("keyManagement: {options: {requireEncrytion: true}}\n", "'requireEncryption'?"),
            ("keyManagement: {options: {requireEncryption: yes}}\n", "must be true or false"),
            ("keyManagement: {options: {requireEncryption: }}\n", "has no value"),
            ("keyManagement: {options: true}\n", "must be a block of settings"),
            ("keyManagement: {region: us-east-1}\n", "neither a block nor a key"),
            ("base: &x {provider: vault}\nkeyManagement: *x\n", "aliases"),
            ("base: &x {provider: vault}\nkeyManagement: {<<: *x}\n", "merge keys"),
        ],
    )  # fmt: skip
    def test_refused(self, refuse, text, words):
        assert words in refuse(text, EMPTY="")

    @pytest.mark.parametrize(
        "text",
        ["keyManagement:\n", "keyManagement: {}\n", "keyManagement: ~\n",
         "keyManagement: {options: {}}\n", "keyManagement: {Options: {}, observers: []}\n"],
    )  # fmt: skip
    def test_nothing_at_all_means_plaintext(self, load, text):
        configuration = load(text)
        assert configuration.implicit_plaintext
        assert configuration.primary == "plaintext"
        assert [block.named_in_file for block in configuration.sections.values()] == [False]
        assert configuration.structure_section("plaintext", Nothing) == Nothing()

    @pytest.mark.parametrize(
        "text",
        ["keyManagement: {provider: plaintext}\n", "keyManagement: {provider: '${P:-plaintext}'}\n",
         "keyManagement: {provider: plaintext, plaintext: }\n",
         "keyManagement: {provider: plaintext, plaintext: {}}\n"],
    )  # fmt: skip
    def test_plaintext_needs_no_block(self, load, text):
        configuration = load(text)
        assert not configuration.implicit_plaintext
        assert configuration.primary == "plaintext"
        assert configuration.sections["plaintext"].named_in_file
        assert configuration.structure_section("plaintext", Nothing) == Nothing()

    def test_plaintext_is_there_only_where_it_is_named(self, load):
        assert list(load("keyManagement: {provider: a, a: {}}").sections) == ["a"]

    def test_require_encryption(self, load, refuse):
        empty = "keyManagement:\n"
        assert not load(empty).options.require_encryption
        assert load(
            "keyManagement: {options: {requireEncryption: true}}"
        ).options.require_encryption
        for value in ("1", "true", "TRUE"):
            assert load(empty, KEYHINGE_REQUIRE_ENCRYPTION=value).options.require_encryption
        for value in ("0", "false", ""):
            assert not load(empty, KEYHINGE_REQUIRE_ENCRYPTION=value).options.require_encryption
        on = "keyManagement: {options: {requireEncryption: true}}"
        assert load(on, KEYHINGE_REQUIRE_ENCRYPTION="0").options.require_encryption
        assert "must be 1 or 0" in refuse(empty, KEYHINGE_REQUIRE_ENCRYPTION="ja")


class TestOverride:
    FILE = "keyManagement: {provider: a, a: {}, b: {}}\n"

    def test_names_a_section_of_the_file(self, load):
        assert load(self.FILE, KEYHINGE_PROVIDER="b").primary == "b"
        assert load(self.FILE, KEYHINGE_PROVIDER="").primary == "a"
        assert load("keyManagement: {b: {}}", KEYHINGE_PROVIDER="b").primary == "b"

    def test_the_plaintext_that_the_file_names_stays_readable(self, load):
        configuration = load("keyManagement: {provider: plaintext, b: {}}", KEYHINGE_PROVIDER="b")
        assert set(configuration.sections) == {"b", "plaintext"}

    @pytest.mark.parametrize("text", [FILE, "keyManagement:\n", "keyManagement: {options: {}}\n"])
    def test_nothing_else(self, refuse, text):
        for name in ("plaintext", "c", "A", MARKER):
            message = refuse(text, KEYHINGE_PROVIDER=name)
            assert "environment variable KEYHINGE_PROVIDER names" in message


class TestSections:
    def test_types_and_aliases(self, load):
        configuration = load(
            "keyManagement:\n"
            "  provider: vault-eu\n"
            "  vault-eu: {type: vault, aliases: [vault, old], keyID: a}\n"
            "  aws:\n"
        )
        assert list(configuration.sections) == ["vault-eu", "aws"]
        block = configuration.sections["vault-eu"]
        assert (block.name, block.type, block.aliases) == ("vault-eu", "vault", ("vault", "old"))
        assert configuration.sections["aws"].type == "aws"
        assert configuration.structure_section("vault-eu", Vault).key_id == "a"

    def test_case(self, load, refuse):
        configuration = load("keymanagement: {Provider: vault, Vault: {Type: vault, keyid: a}}")
        assert configuration.primary == "vault"
        assert configuration.structure_section("vault", Vault).key_id == "a"
        assert len(configuration.warnings) == 3
        assert len(configuration.check_section("vault", Vault)) == 2
        assert "sections differ only in case" in refuse(
            "keyManagement: {provider: vault, vault: {}, Vault: {}}"
        )

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("store", "reserved"), ("config", "reserved"), ("Test", "reserved"),
            ("vault_eu", "can't be a section"), ("1st", "can't be a section"),
            ("a" * 33, "can't be a section"), ("'a b'", "can't be a section"),
        ],
    )  # fmt: skip
    def test_names(self, refuse, name, words):
        assert words in refuse(f"keyManagement: {{provider: a, a: {{}}, {name}: {{}}}}")

    @pytest.mark.parametrize(
        ("blocks", "words"),
        [
            ("a: {aliases: [a]}", "'a' is the section's own name"),
            ("a: {aliases: [b]}, b: {}", "'b' is a section"),
            ("a: {aliases: [c]}, b: {aliases: [c]}", "'c' is an alias of the section a too"),
        ],
    )
    def test_aliases_that_clash(self, refuse, blocks, words):
        assert words in refuse(f"keyManagement: {{provider: a, {blocks}}}")

    @pytest.mark.parametrize(
        ("block", "words"),
        [
            ("aliases: old", "must be a list"), ("aliases: [S3CR3T-marker]", "can't be"),
            ("aliases: [store]", "can't be"), ("aliases: [no]", "must be text"),
            ("type: S3CR3T-marker", "must be a provider's"), ("type: 5", "must be a provider's"),
            ("type: [a]", "must be a provider's"), ("type: a, Type: b", "differ only in case"),
        ],
    )  # fmt: skip
    def test_mistakes_stay_with_their_section(self, load, block, words):
        configuration = load(f"keyManagement: {{provider: b, a: {{{block}}}, b: {{}}}}")
        configuration.structure_section("b", Nothing)
        for _ in range(2):
            with pytest.raises(ConfigError) as caught:
                configuration.structure_section("a", Nothing)
            assert words in str(caught.value)
            assert MARKER not in str(caught.value)
        problems = configuration.check_section("a")
        assert [problem.message for problem in problems]

    def test_a_secondary_section_may_be_broken(self, load):
        configuration = load(
            "keyManagement:\n"
            "  provider: good\n"
            "  good: {keyID: a}\n"
            "  bad: {keyID: &x 0123, keyID: a, timeout: '${UNSET}', <<: b, nope: S3CR3T-marker}\n"
        )
        assert configuration.errors == ()
        assert configuration.structure_section("good", Vault).key_id == "a"
        with pytest.raises(ConfigError) as caught:
            configuration.structure_section("bad", Vault)
        assert len(caught.value.problems) == 5
        assert {problem.line for problem in caught.value.problems} == {4}
        assert MARKER not in str(caught.value)
        assert len(configuration.check_section("bad", Vault)) == 5
        assert len(configuration.check_section("bad")) == 4
        with pytest.raises(KeyError):
            configuration.structure_section("nope", Vault)

    def test_everything_together(self, refuse):
        message = refuse(
            "keyManagement:\n"
            "  provider: ${UNSET}\n"
            "  options: {requireEncryption: yes}\n"
            "  observers: [nope]\n"
            "  vault_eu: {}\n"
            "  a: {keyID: a, keyID: b}\n"
        )
        for line in (2, 3, 4, 5):
            assert f"(line {line})" in message
        assert "4 problems in the configuration" in message

    def test_with_what_reading_finds_in_the_primary(self, refuse):
        message = refuse("keyManagement: {provider: a, a: {k: 1, k: 2}, vault_eu: {}}")
        assert "keyManagement.a.k" in message
        assert "keyManagement.vault_eu" in message

    def test_observers(self, load, refuse):
        text = "keyManagement: {observers: ['a.b:c', 'd:E.f']}"
        assert load(text).observers == ("a.b:c", "d:E.f")
        for wrong in ("a.b", "[a.b]", "['a:']", "[5]", "['a b:c']", "{a: b}"):
            assert "observers" in refuse(f"keyManagement: {{observers: {wrong}}}")

    def test_reading_keeps_problems(self, tmp_path):
        path = tmp_path / "config.yaml"
        path.write_text("other: 1\n")
        configuration = read_configuration(path, {})
        assert configuration.primary == ""
        assert [problem.path for problem in configuration.errors] == ["keyManagement"]
        assert configuration.describe_options() == []


class TestBlocks:
    def test_store(self, load):
        configuration = load("keyManagement:\nstore: {url: 'sqlite:///${NAME:-app}.db'}")
        store = configuration.structure_block("store", Store)
        assert store is not None
        assert store.url == "sqlite:///app.db"
        assert configuration.check_block("store", Store) == ()

    def test_absent_empty_and_wrong(self, load):
        assert load("keyManagement:\n").structure_block("store", Store) is None
        assert load("keyManagement:\n").check_block("store", Store) == ()
        assert load("keyManagement:\nstore:\n").structure_block("store", Store) == Store()
        wrong = load("keyManagement:\nstore: {url: no, url: S3CR3T-marker, x: 1}\n")
        with pytest.raises(ConfigError) as caught:
            wrong.structure_block("store", Store)
        assert len(caught.value.problems) == 3
        assert MARKER not in str(caught.value)
        assert len(wrong.check_block("store", Store)) == 3


class TestDescribe:
    def test_origins(self, load):
        configuration = load(
            "keyManagement:\n"
            "  provider: vault\n"
            "  vault:\n"
            "    keyid: '${NAME}'\n"
            "    token: ${TOKEN}\n"
            "    endpoint: https://me:S3CR3T-marker@host/\n"
            "store:\n  url: postgresql://app:S3CR3T-marker@db/app\n",
            NAME="monetr",
            TOKEN=MARKER,
        )
        views = configuration.describe("vault", Vault)
        assert [(view.key, view.value, view.origin) for view in views] == [
            ("keyID", "monetr", "$NAME"),
            ("token", "(redacted)", "$TOKEN"),
            ("endpoint", "https://me:***@host/", "config.yaml:6"),
            ("timeout", "5.0", "default"),
        ]
        (url,) = configuration.describe_block("store", Store)
        assert (url.value, url.origin) == ("postgresql://app:***@db/app", "config.yaml:8")
        options = configuration.describe_options()
        assert [(view.key, view.value, view.origin) for view in options] == [
            ("provider", "vault", "config.yaml:2"),
            ("options.requireEncryption", "false", "default"),
            ("options.maxKeyAge", "", "default"),
        ]
        assert MARKER not in repr(configuration)

    def test_files_and_overrides(self, load):
        configuration = load(
            "keyManagement: {provider: a, a: {tokenFile: run/token}, b: {}, options:\n"
            "  {requireEncryption: true}}\n",
            KEYHINGE_PROVIDER="b",
        )
        views = configuration.describe("a", Vault)
        assert (views[0].key, views[0].value) == ("tokenFile", "run/token")
        options = configuration.describe_options()
        assert [(view.value, view.origin) for view in options] == [
            ("b", "$KEYHINGE_PROVIDER"),
            ("true", "config.yaml:2"),
            ("", "default"),
        ]

    def test_mapping(self):
        config = {"keyManagement": {"provider": "a", "a": {"keyID": "k", "timeout": 2}}}
        views = load_configuration(config, {}).describe("a", Vault)
        assert [view.origin for view in views] == ["mapping", "default", "default", "mapping"]
