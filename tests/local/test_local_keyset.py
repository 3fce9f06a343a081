"""The key file's text: what is written is read, and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyhinge import ConfigError
from keyhinge_local import KeyFileError
from keyhinge_local._keyset import MAX_BYTES, KeySet, fingerprint
from keyhinge_local._parse import parse

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=timezone.utc)
KEY_SET = KeySet.generate(NOW).rotated(NOW).activated(2).rotated(NOW)
TEXT = KEY_SET.dump()
SECRETS = [base64.b64encode(version.key).decode() for version in KEY_SET.versions]


def parts(key_set: KeySet) -> Any:
    """Everything that a key set is made of."""
    versions = [(v.number, v.key, v.created, v.fingerprint, v.label) for v in key_set.versions]
    return key_set.key_id, key_set.active, versions


def edited(**changes: Any) -> str:
    """The text with some fields of the key set replaced."""
    return json.dumps(json.loads(TEXT) | changes)


def edited_version(**changes: Any) -> str:
    """The text with some fields of its second version replaced."""
    document = json.loads(TEXT)
    document["versions"][1] |= changes
    return json.dumps(document)


def refused(text: str) -> str:
    """The message with which a text is refused, which never holds any of it."""
    with pytest.raises(KeyFileError) as caught:
        parse(text, "/etc/app/keyhinge.key")
    error = caught.value
    assert isinstance(error, ConfigError)
    assert error.kind == "malformed"
    assert error.__cause__ is None
    assert error.__context__ is None
    message = str(error)
    assert message.startswith("/etc/app/keyhinge.key: not a ")
    for secret in SECRETS:
        assert secret[:12] not in message
    return message


class TestReading:
    """What was written."""

    def test_round_trip(self) -> None:
        """Every part survives."""
        assert parts(parse(TEXT, "x")) == parts(KEY_SET)

    def test_on_one_line(self) -> None:
        """Layout doesn't matter, so that the text fits into an environment variable."""
        assert parts(parse(json.dumps(json.loads(TEXT)), "x")) == parts(KEY_SET)

    def test_example_is_stable(self) -> None:
        """A file of this release, which every later one must read."""
        text = """{"format": "keyhinge-local/1", "id": "set1", "active": 1, "versions": [
            {"version": 1, "created": "2026-01-31T12:00:00Z", "fingerprint": "4383588a",
             "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}]}"""
        key_set = parse(text, "x")
        assert key_set.versions[0].key == bytes(range(32))
        assert key_set.versions[0].label == "1.4383588a"

    def test_fingerprint(self) -> None:
        """It is the documented hash."""
        hashed = hashlib.sha256(b"keyhinge/local/fingerprint/1\0" + bytes(32)).hexdigest()
        assert fingerprint(bytes(32)) == hashed[:8]

    def test_generated_keys_differ(self) -> None:
        """Ids and keys are random."""
        other = KeySet.generate(NOW)
        assert other.key_id != KEY_SET.key_id
        assert other.versions[0].key != KEY_SET.versions[0].key
        assert len({version.key for version in KEY_SET.versions}) == 3


REFUSED = {
    "empty": ("", "empty"),
    "blank": (" \n", "empty"),
    "cut short": (TEXT[:-20], "no JSON at line"),
    "two documents": (TEXT + TEXT, "no JSON at line"),
    "byte order mark": ("\ufeff" + TEXT, "ASCII"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "large": (TEXT + " " * MAX_BYTES, "larger than"),
    "a list": ("[]", "isn't an object"),
    "a string": ('"x"', "isn't an object"),
    "null": ("null", "isn't an object"),
    "no field": ("{}", "lacks format, id, active, versions"),
    "another format": (edited(format="keyhinge-local/2"), "later keyhinge-local"),
    "format of another type": (edited(format=1), "later keyhinge-local"),
    "unknown field": (edited(comment="x"), "more fields"),
    "field twice": (TEXT.replace('"active"', '"id": "x", "active"'), "twice"),
    "empty id": (edited(id=""), "id isn't"),
    "id with a colon": (edited(id="a:b"), "id isn't"),
    "id with a newline": (edited(id="ab\n"), "id isn't"),
    "long id": (edited(id="a" * 65), "id isn't"),
    "id a number": (edited(id=1), "id isn't"),
    "active unknown": (edited(active=9), "active isn't"),
    "active true": (edited(active=True), "active isn't"),
    "active null": (edited(active=None), "active isn't"),
    "active a string": (edited(active="1"), "active isn't"),
    "negative": (edited(active=-1), "number isn't between"),
    "huge": (TEXT.replace('"active": 2', '"active": ' + "9" * 5000), "number isn't between"),
    "fraction": (edited(active=1.0), "isn't a whole one"),
    "infinity": (edited(active=float("inf")), "isn't a whole one"),
    "nan": (edited(active=float("nan")), "isn't a whole one"),
    "no version": (edited(versions=[]), "versions isn't a list"),
    "versions an object": (edited(versions={}), "versions isn't a list"),
    "too many": (edited(versions=[1] * 1001), "versions isn't a list"),
    "version a string": (edited(versions=["x"]), "entry 1 of versions isn't an object"),
    "version twice": (edited_version(version=1), "ascending"),
    "version zero": (edited_version(version=0), "from 1 up"),
    "version a bool": (edited_version(version=True), "from 1 up"),
    "version field unknown": (edited_version(note=""), "entry 2 of versions has more"),
    "same key twice": (
        edited(
            active=1,
            versions=[
                json.loads(TEXT)["versions"][0],
                json.loads(TEXT)["versions"][0] | {"version": 2},
            ],
        ),
        "same key",
    ),
    "other fingerprint": (edited_version(fingerprint="00000000"), "don't belong together"),
    "fingerprint a number": (edited_version(fingerprint=12345678 % 999_999), "don't belong"),
    "other key": (edited_version(key="A" * 43 + "="), "don't belong together"),
    "key too short": (edited_version(key="AAAA"), "base64 of 32 bytes"),
    "key no base64": (edited_version(key="!" * 44), "base64 of 32 bytes"),
    "key not ASCII": (edited_version(key="\u0660" * 44), "base64 of 32 bytes"),
    "key with stray bits": (edited_version(key=SECRETS[1][:-2] + "/="), "base64 of 32 bytes"),
    "key with a newline": (edited_version(key=SECRETS[1] + "\n"), "base64 of 32 bytes"),
    "key null": (edited_version(key=None), "base64 of 32 bytes"),
    "created a date": (edited_version(created="2026-01-31"), "UTC time"),
    "created in a zone": (edited_version(created="2026-01-31T12:00:00+01:00"), "UTC time"),
    "created on no day": (edited_version(created="2026-02-31T12:00:00Z"), "UTC time"),
    "created in other digits": (
        edited_version(created="\u0662\u0660\u0662\u0666-01-31T12:00:00Z"),
        "UTC time",
    ),
    "created a number": (edited_version(created=1), "UTC time"),
}


class TestRefusing:
    """What isn't exactly a key set."""

    @pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
    def test_malformed(self, text: str, reason: str) -> None:
        """It is refused with its reason."""
        assert reason in refused(text)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Text is refused with the one error."""
        refused(text)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_any_json(self, document: Any) -> None:
        """So is JSON."""
        refused(json.dumps(document))

    @given(
        st.sampled_from(["format", "id", "active", "versions"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
    )
    def test_any_field(self, name: str, value: Any) -> None:
        """A field with anything in it is refused, or is one of the few that are right."""
        try:
            key_set = parse(edited(**{name: value}), "x")
        except KeyFileError:
            return
        assert json.loads(key_set.dump())[name] == value

    @settings(max_examples=300)
    @given(st.integers(0, len(TEXT) - 1), st.integers(0, 127))
    def test_any_changed_character(self, at: int, code: int) -> None:
        """A changed character is refused, unless it leaves every key as it is."""
        try:
            key_set = parse(TEXT[:at] + chr(code) + TEXT[at + 1 :], "x")
        except KeyFileError:
            return
        assert [v.key for v in key_set.versions] == [v.key for v in KEY_SET.versions]
