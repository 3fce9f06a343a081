"""Settings classes: YAML names, limits, no copies, no secrets in sight."""

import copy
import pickle
from typing import Any, cast

import attrs
import cattrs
import pytest

from keyhinge._secret import Secret
from keyhinge._settings import InvalidSettings, secret, setting, settings
from keyhinge.config._fields import fields_of

MARKER = "S3CR3T-marker"


@settings
class Sample:
    """A sample."""

    key_id: str = setting(alias="keyID", help="The key.", example="monetr")
    token: Secret | None = secret(default=None)
    tls_ca_path: str | None = setting(alias="tlsCAPath", default=None)
    connect_timeout: float = setting(alias="connectTimeout", default=5.0, minimum=0.5, maximum=60)
    insecure_skip_verify: bool = False
    names: list[str] = setting(factory=list)


class TestSettings:
    def test_names(self):
        fields = fields_of(Sample)
        assert [field.key for field in fields] == [
            "keyID", "token", "tlsCAPath", "connectTimeout", "insecureSkipVerify", "names",
        ]  # fmt: skip
        assert [field.name for field in fields] == [
            "key_id", "token", "tls_ca_path", "connect_timeout", "insecure_skip_verify", "names",
        ]  # fmt: skip
        assert [field.twin for field in fields] == [None, "tokenFile", None, None, None, None]

    def test_made_by_yaml_names(self):
        sample = Sample(keyID="k", connectTimeout=2.0)
        assert (sample.key_id, sample.connect_timeout, sample.names) == ("k", 2.0, [])

    def test_frozen_and_keyword_only(self):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(Sample(keyID="k"), "key_id", "other")  # noqa: B010 - mypy knows it is frozen
        with pytest.raises(TypeError, match="positional"):
            cast("Any", Sample)("k")
        assert not hasattr(Sample(keyID="k"), "__dict__")

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_never_copied(self, duplicate):
        with pytest.raises(TypeError, match="Sample can't be pickled or copied"):
            duplicate(Sample(keyID="k"))

    def test_secrets_stay_hidden(self):
        sample = Sample(keyID="k", token=Secret(MARKER))
        assert "token=Secret(redacted)" in repr(sample)
        as_dict = attrs.asdict(cast("Any", sample))
        for shown in (repr(sample), repr(as_dict), repr(cattrs.unstructure(sample))):
            assert MARKER not in shown

    def test_limits_hold_in_python_too(self):
        with pytest.raises(InvalidSettings, match=r"connectTimeout: must be at least 0\.5"):
            Sample(keyID="k", connectTimeout=0.1)
        with pytest.raises(InvalidSettings, match="connectTimeout: must be at most 60"):
            Sample(keyID="k", connectTimeout=61.0)

    def test_inheritance(self):
        @settings
        class Child(Sample):
            extra_one: bool = False

        keys = {field.key for field in fields_of(Child)}
        assert keys == {field.key for field in fields_of(Sample)} | {"extraOne"}
        with pytest.raises(TypeError, match="Child can't be pickled"):
            pickle.dumps(Child(keyID="k"))


class TestFields:
    def test_plain_attrs_classes(self):
        """A third party needn't use our decorator."""

        @attrs.define
        class Foreign:
            key_id: str = attrs.field(alias="keyID")
            _token: Secret
            port: int = 5
            computed: int = attrs.field(init=False, default=1)

        fields = fields_of(Foreign)
        assert [(field.key, field.twin, field.required) for field in fields] == [
            ("keyID", None, True),
            ("token", "tokenFile", True),
            ("port", None, False),
        ]

    def test_twin_can_be_turned_off_or_be_a_field(self):
        @settings
        class Own:
            key: Secret = secret(file_twin=False)
            token: Secret = secret()
            token_file: str | None = None

        assert [field.twin for field in fields_of(Own)] == [None, None, None]

    def test_string_annotations(self):
        @settings
        class Later:
            token: "Secret | None" = secret(default=None)
            names: "tuple[str, ...]" = ()

        assert fields_of(Later)[0].twin == "tokenFile"
        assert fields_of(Later)[1].type == tuple[str, ...]

    def test_unknown_annotation(self):
        @settings
        class Broken:
            token: str

        Broken.__annotations__["token"] = "Nowhere"
        with pytest.raises(TypeError, match="'Nowhere' isn't defined"):
            fields_of(Broken)

    def test_not_attrs(self):
        with pytest.raises(TypeError, match=r"keyhinge\.settings"):
            fields_of(int)

    def test_two_fields_with_one_key(self):
        @settings
        class Twice:
            a: str = setting(alias="keyID")
            b: str = setting(alias="keyId")

        with pytest.raises(TypeError, match="two fields with the key"):
            fields_of(Twice)


def test_invalid_settings_can_be_pickled():
    error = pickle.loads(pickle.dumps(InvalidSettings({"a": "b"})))
    assert error.messages == {"a": "b"}
    assert str(error) == "a: b"
