"""No root key, AES key or plaintext is shown by anything of an envelope."""

from __future__ import annotations

import base64
import copy
import logging
import os
import pickle
import traceback
from typing import Any

import pytest
from tests.local._envelope import CONTEXT, Variant, open_envelope, provider_of, settle

from keyhinge import Decrypt, Encrypt, KeyhingeError, hookimpl
from keyhinge.testing._support import reachable_text, recorded
from keyhinge_local.envelope import _format, _wrapping

PLAINTEXT = b"pl41ntext of the leak test"


class Known:
    """The keys that are made and derived while a test runs."""

    def __init__(self):
        self.secrets = [PLAINTEXT]

    def shown_in(self, text):
        """Which of them a text shows, in any of the usual forms."""
        found = []
        for secret in self.secrets:
            forms = {secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]}
            forms |= {secret.decode("latin-1")}
            found += [form for form in forms if form in text]
        return found


@pytest.fixture
def known(monkeypatch):
    """Take down every root key and every AES key."""
    known = Known()

    def urandom(size, make=os.urandom):
        made = make(size)
        known.secrets.append(made)
        return made

    def derive(root, context, derive=_format.derive):
        key, commitment = derive(root, context)
        known.secrets.append(key)
        return key, commitment

    monkeypatch.setattr(_wrapping, "urandom", urandom)
    monkeypatch.setattr(_wrapping, "derive", derive)
    return known


def things_of(keys):
    """Everything that a provider is made of, as far as a debugger shows it."""
    seen: dict[int, Any] = {}
    todo: list[Any] = [provider_of(keys)]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or not type(thing).__module__.startswith("keyhinge_local"):
            continue
        seen[id(thing)] = thing
        names = [n for c in type(thing).__mro__ for n in getattr(c, "__slots__", ())]
        for name in {*names, *getattr(thing, "__dict__", ())}:
            member = getattr(thing, name, None)
            members = member.values() if isinstance(member, dict) else [member]
            todo += [*members, getattr(member, "__self__", None)]
    return list(seen.values())


def test_reprs(open_keys, known):
    keys = open_keys(partitionBy=["account"])
    value = keys.encrypt(PLAINTEXT, context=CONTEXT)
    keys.rewrap(value, context=CONTEXT)
    assert len(known.secrets) >= 4
    things = things_of(keys)
    names = {type(thing).__name__ for thing in things}
    assert names >= {"EnvelopeProvider", "DataKey", "OpenedKey", "KeyCache", "Sealing", "Opening"}
    for thing in things:
        for text in (
            repr(thing),
            str(thing),
            f"{thing}",
            repr(vars(thing) if hasattr(thing, "__dict__") else ""),
        ):
            assert known.shown_in(text) == []


@pytest.mark.parametrize("name", ["EnvelopeProvider", "DataKey", "OpenedKey"])
def test_no_pickle_and_no_copy(open_keys, name):
    keys = open_keys()
    keys.encrypt(PLAINTEXT, context=CONTEXT)
    [thing, *_] = [thing for thing in things_of(keys) if type(thing).__name__ == name]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(thing, protocol)
    for duplicate in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            duplicate(thing)


def test_data_keys_keep_no_bytes_of_theirs(open_keys, known):
    """They hold ready ciphers: neither the root key nor the AES key is an attribute."""
    keys = open_keys()
    keys.encrypt(PLAINTEXT, context=CONTEXT)
    for thing in things_of(keys):
        names = [n for c in type(thing).__mro__ for n in getattr(c, "__slots__", ())]
        for member in (getattr(thing, each, None) for each in names):
            assert not isinstance(member, bytes) or known.shown_in(member.hex()) == []


def frames_of(error):
    """The local variables of every frame that an error's traceback refers to, as text."""
    parts = [reachable_text(error)]
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "keyhinge" in frame.f_code.co_filename and "/tests/" not in frame.f_code.co_filename:
            parts.append(repr(frame.f_locals))
    return "\n".join(parts)


@pytest.mark.parametrize("failing", ["encrypt", "decrypt", "encrypt_many", "decrypt_many"])
def test_errors(open_keys, kms, known, failing):
    """Neither their text nor the frames that they were raised in; whatever the service does."""
    items = [Encrypt(PLAINTEXT, {"account": name}) for name in "ab"]
    outs = open_keys(partitionBy=["account"]).encrypt_many(items)
    values = [Decrypt(out.value, item.context) for out, item in zip(outs, items, strict=True)]
    ask = kms.ask

    def fail(call):
        ask(call)
        if call == failing:
            raise RuntimeError("a stranger's exception")

    kms.ask = fail
    keys = open_keys(partitionBy=["account"])
    caught = []
    for call in (
        lambda: keys.encrypt(PLAINTEXT, context=CONTEXT),
        lambda: keys.decrypt(values[0].value, context=values[0].context),
        lambda: keys.rewrap(values[0].value, context=values[0].context),
    ):
        try:
            call()
        except KeyhingeError as failure:
            caught.append(failure)
    outs = [*open_keys(partitionBy=["account"]).encrypt_many(items)]
    outs += open_keys().decrypt_many(values)
    caught += [out.error for out in outs if out.error]
    assert caught
    for error in caught:
        assert "stranger" not in frames_of(error)
        assert known.shown_in(frames_of(error)) == []


def test_a_lying_service(kms, known):
    """What is said of a wrapping that doesn't open says nothing of the key."""

    @hookimpl
    def decrypt(self, value, context):
        return bytes(32)

    with open_envelope({"kms": kms}, kms=Variant({"kms": kms}, keyhinge_decrypt=decrypt)) as keys:
        with pytest.raises(KeyhingeError) as caught:
            keys.encrypt(PLAINTEXT, context=CONTEXT)
        assert known.shown_in(frames_of(caught.value)) == []


def test_logs(open_keys, kms, known, clock):
    """Down to DEBUG, also while renewals fail."""
    with recorded() as records:
        keys = open_keys(clock=clock, maxAge="100s")
        value = keys.encrypt(PLAINTEXT, context=CONTEXT)
        keys.decrypt(value, context=CONTEXT)
        keys.rewrap(value, context=CONTEXT)
        keys.check()
        kms.fail()
        clock.now += 95
        keys.encrypt(PLAINTEXT, context=CONTEXT)
        settle()
        clock.now += 95
        with pytest.raises(KeyhingeError):
            keys.encrypt(PLAINTEXT, context=CONTEXT)
    assert any("couldn't be renewed" in text for _, text in records)
    for _, text in records:
        assert known.shown_in(text) == []
    assert logging.getLogger("keyhinge.envelope").level == logging.NOTSET


def test_check_shows_no_key(open_keys, known):
    keys = open_keys()
    keys.encrypt(PLAINTEXT, context=CONTEXT)
    assert known.shown_in(repr(keys.check())) == []
