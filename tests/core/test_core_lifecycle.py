"""Reload, close and fork: who closes a provider, and when."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from keyhinge import (
    ClosedError,
    ConfigError,
    Decrypt,
    Encrypt,
    InvalidCiphertextError,
    InvalidPlaintextError,
    KeyManager,
    ProviderNotFoundError,
    UnavailableError,
    hookimpl,
)

GOOD = "keyManagement:\n  provider: {0}\n  a: {{type: toy, key: a}}\n  b: {{type: toy, key: b}}\n"


@pytest.fixture
def file(tmp_path):
    """A configuration file."""
    path = tmp_path / "config.yaml"
    path.write_text(GOOD.format("a"))
    return path


@pytest.fixture
def keys(file, module):
    """A KeyManager over that file."""
    with KeyManager.open(file, providers={"toy": module}, environ={}) as keys:
        module.events.clear()
        yield keys


class TestReload:
    def test_takes_the_new_file(self, keys, file, module):
        old = keys.encrypt(b"x", context={})
        file.write_text(GOOD.format("b"))
        keys.reload()
        assert keys.primary == "b"
        assert keys.encrypt(b"x", context={}).section == "b"
        assert keys.decrypt(old, context={}) == b"x"

    def test_closes_the_old_sections_at_once_if_nobody_uses_them(self, keys, module):
        keys.encrypt(b"x", context={})
        keys.reload()
        assert module.events[:2] == ["configure a", "configure b"]
        assert sorted(module.events[2:]) == ["close a", "close b"]

    @pytest.mark.parametrize("observed", [False, True])
    def test_failed_calls_keep_no_section_open(self, file, module, observed):
        """An error's traceback, kept or dropped, refers to frames: none may hold a section."""

        class Watcher:
            @hookimpl(wrapper=True)
            def keyhinge_operation(self, operation):
                return (yield)

        observers = [Watcher()] if observed else []
        with KeyManager.open(
            file, providers={"toy": module}, environ={}, observers=observers
        ) as keys:
            value = keys.encrypt(b"x", context={})
            for _ in range(3):
                with pytest.raises(InvalidCiphertextError):
                    keys.decrypt(value, context={"a": "b"})
                with pytest.raises(InvalidCiphertextError):
                    keys.rewrap(value, context={"a": "b"})
                with pytest.raises(InvalidPlaintextError):
                    keys.encrypt(None, context={})  # type: ignore[arg-type]
                keys.decrypt_many([Decrypt(value, {"a": "b"})])
            module.events.clear()
            keys.reload()
            assert sorted(module.events[2:]) == ["close a", "close b"]

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("", ConfigError),
            ("keyManagement: {", ConfigError),
            ("keyManagement:\n  provider: c\n  a: {type: toy}\n", ConfigError),
            ("keyManagement:\n  provider: a\n  a: {type: toy, keyy: x}\n", ConfigError),
            ("keyManagement:\n  provider: a\n  a: {type: nothing}\n", ProviderNotFoundError),
            ("keyManagement:\n  provider: a\n  a: {type: toy}\n  observers: [a:b]\n", ConfigError),
        ],
    )
    def test_keeps_the_old_one_if_the_new_one_is_wrong(self, keys, file, module, text, error):
        value = keys.encrypt(b"x", context={})
        file.write_text(text)
        with pytest.raises(error):
            keys.reload()
        assert keys.decrypt(value, context={}) == b"x"
        assert keys.primary == "a"
        assert keys.configuration.primary == "a"
        assert "close a" not in module.events
        file.write_text(GOOD.format("b"))
        keys.reload()
        assert keys.primary == "b"

    def test_file_gone(self, keys, file):
        file.unlink()
        with pytest.raises(ConfigError):
            keys.reload()
        keys.encrypt(b"x", context={})

    def test_the_same_file_from_another_folder(self, file, module, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        with KeyManager.open("config.yaml", providers={"toy": module}, environ={}) as keys:
            elsewhere = tmp_path / "elsewhere"
            elsewhere.mkdir()
            monkeypatch.chdir(elsewhere)
            keys.reload()
            assert keys.primary == "a"

    def test_a_call_in_flight_keeps_its_section(self, opened, variant):
        inside, go_on = threading.Event(), threading.Event()
        closed_meanwhile: list[str] = []

        @hookimpl
        def encrypt(self, plaintext, context):
            if plaintext == b"slow":
                inside.set()
                assert go_on.wait(30)
                closed_meanwhile.extend(event for event in self._events if "close" in event)
            return self.own_encrypt(plaintext, context)

        using = variant(keyhinge_encrypt=encrypt)
        keys = opened("a", using=using)
        values = []
        thread = threading.Thread(target=lambda: values.append(keys.encrypt(b"slow", context={})))
        thread.start()
        assert inside.wait(30)
        keys.reload()
        keys.reload()
        # The section in between had no user, the first one has.
        assert using.events == ["configure a", "configure a", "configure a", "close a"]
        go_on.set()
        thread.join()
        assert closed_meanwhile == ["close a"]
        assert using.events[-1] == "close a"
        assert using.events.count("close a") == 2
        assert keys.decrypt(values[0], context={}) == b"slow"

    def test_a_broken_close_is_no_problem_of_reload(self, opened, variant, caplog):
        @hookimpl
        def close(self):
            raise ValueError("S3CR3T")

        keys = opened("a", using=variant(keyhinge_close=close))
        keys.reload()
        assert "closing its provider failed: ValueError" in caplog.text
        assert "S3CR3T" not in caplog.text


class TestClose:
    def test_closes_each_provider_once(self, keys, module):
        keys.close()
        keys.close()
        assert sorted(module.events) == ["close a", "close b"]

    def test_in_with(self, file, module):
        with (
            pytest.raises(ZeroDivisionError),
            KeyManager.open(file, providers={"toy": module}, environ={}),
        ):
            _ = 1 / 0
        assert module.events.count("close a") == 1

    def test_dropped_without_close(self, file, module):
        KeyManager.open(file, providers={"toy": module}, environ={})
        assert sorted(module.events) == ["close a", "close b", "configure a", "configure b"]

    def test_use_after_close(self, keys):
        value = keys.encrypt(b"x", context={})
        key = keys.current_key()
        keys.close()
        for call in (
            lambda: keys.encrypt(b"x", context={}),
            lambda: keys.encrypt(b"x", context={}, section="b"),
            lambda: keys.decrypt(value, context={}),
            lambda: keys.rewrap(value, context={}),
            lambda: keys.encrypt_many([Encrypt(b"x", {})]),
            lambda: keys.decrypt_many([Decrypt(value, {})]),
            lambda: keys.rewrap_many([Decrypt(value, {})]),
            lambda: keys.encrypt_many([]),
            lambda: keys.current_key(),
            lambda: keys.is_stale(value, key),
            lambda: keys.capabilities(),
            lambda: keys.check(),
            lambda: keys.health(),
            lambda: keys.reload(),
            lambda: keys.clone(),
            lambda: keys.section_of(value),
            lambda: keys.primary,
            lambda: keys.sections,
        ):
            with pytest.raises(ClosedError) as caught:
                call()
            assert caught.value.__context__ is None

    def test_reload_of_a_closed_one_with_a_wrong_file(self, keys, file):
        keys.close()
        file.write_text("")
        with pytest.raises(ClosedError):
            keys.reload()

    def test_a_provider_that_says_closed(self, opened, variant):
        """A call that close overtakes is an outage, not a bug of the provider."""

        @hookimpl
        def decrypt(self, value, context):
            raise ClosedError("no")

        keys = opened("a", using=variant(keyhinge_decrypt=decrypt))
        value = keys.encrypt(b"x", context={})
        with pytest.raises(UnavailableError, match="closed"):
            keys.decrypt(value, context={})


class TestClone:
    def test_shares_nothing(self, keys, module):
        value = keys.encrypt(b"x", context={})
        with keys.clone() as other:
            assert module.events == ["configure a", "configure b"]
            assert other.decrypt(value, context={}) == b"x"
        assert sorted(module.events[2:]) == ["close a", "close b"]
        assert keys.decrypt(value, context={}) == b"x"


PRELUDE = """
import gc, os, sys, threading, time
from keyhinge import Capabilities, KeyManager, Provider, Sealed, hookimpl, settings

events = []

@settings
class Nothing: pass

class Toy(Provider):
    capabilities = Capabilities(encrypts=True, binds_context=True)
    def __init__(self, name):
        self.name, self.pid = name, os.getpid()
        events.append(f"configure {name} in {self.who()}")
    def who(self):
        return "parent" if os.getpid() == parent else "child"
    @hookimpl
    def keyhinge_encrypt(self, plaintext, context):
        assert self.pid == os.getpid(), "used in another process"
        return Sealed(b"x" + plaintext)
    @hookimpl
    def keyhinge_decrypt(self, value, context):
        assert self.pid == os.getpid(), "used in another process"
        return value.ciphertext[1:]
    @hookimpl
    def keyhinge_close(self):
        events.append(f"close {self.name} of {'own' if self.pid == os.getpid() else 'other'}")

class Module:
    keyhinge_api, keyhinge_settings = 1, Nothing
    @hookimpl
    def keyhinge_configure(self, settings, section):
        return Toy(section.name)

parent = os.getpid()
config = {"keyManagement": {"provider": "a", "a": {"type": "toy"}, "b": {"type": "toy"}}}
keys = KeyManager.open(config, providers={"toy": Module()}, environ={})
value = keys.encrypt(b"x", context={})
events.clear()

def in_child(work):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            os.write(writing, "; ".join(events).encode())
            status = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(status)
    os.close(writing)
    told = os.fdopen(reading).read()
    assert os.waitpid(child, 0)[1] == 0
    return told
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
class TestFork:
    def run(self, code):
        done = subprocess.run(
            # Python 3.12 and later warn of any fork beside threads; that is what is tested here.
            [
                *(sys.executable, "-I", "-W", "ignore::DeprecationWarning"),
                *("-c", PRELUDE + textwrap.dedent(code)),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def test_the_child_configures_anew_and_closes_only_its_own(self):
        self.run("""
            def work():
                assert events == []  # nothing until it is needed
                gc.collect()
                assert keys.decrypt(value, context={}) == b"x"
                assert keys.encrypt(b"x", context={}, section="b").section == "b"
                keys.close()
                gc.collect()

            told = in_child(work)
            assert told == (
                "configure a in child; configure b in child; close a of own; close b of own"
            ), told
            assert events == []
            assert keys.decrypt(value, context={}) == b"x"
            keys.close()
            assert sorted(events) == ["close a of own", "close b of own"]
        """)

    def test_an_ordinary_end_of_the_child_closes_nothing_of_the_parent(self):
        out = self.run("""
            child = os.fork()
            if child == 0:
                import atexit
                atexit._run_exitfuncs()
                print(events, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            keys.close()
        """)
        assert out == "[]\n"

    def test_grandchildren(self):
        self.run("""
            def work():
                keys.encrypt(b"x", context={})
                def inner():
                    events.clear()
                    assert keys.decrypt(value, context={}) == b"x"
                told = in_child(inner)
                assert told == "configure a in child; configure b in child", told

            in_child(work)
        """)

    def test_locks_that_another_thread_holds(self):
        self.run("""
            held, done = threading.Event(), threading.Event()

            def hold():
                with keys._lock, keys._health_lock, keys._pool._lock:
                    held.set()
                    done.wait()

            thread = threading.Thread(target=hold)
            thread.start()
            held.wait()

            def work():
                import asyncio
                assert keys.decrypt(value, context={}) == b"x"
                assert keys.health().ok
                assert asyncio.run(keys.adecrypt(value, context={})) == b"x"
                keys.reload()
                keys.close()

            in_child(work)
            done.set()
            thread.join()
        """)

    def test_a_closed_one_stays_closed(self):
        self.run("""
            from keyhinge import ClosedError
            keys.close()

            def work():
                try:
                    keys.encrypt(b"x", context={})
                except ClosedError:
                    return
                raise AssertionError

            in_child(work)
        """)

    def test_many_children_while_threads_work(self):
        self.run("""
            stop = threading.Event()

            def busy():
                while not stop.is_set():
                    keys.encrypt(b"x", context={"n": str(time.monotonic_ns())})
                    keys.health(0)
                    keys.reload()

            threads = [threading.Thread(target=busy) for _ in range(4)]
            for thread in threads:
                thread.start()

            def work():
                assert keys.decrypt(value, context={}) == b"x"
                assert keys.health().ok

            for _ in range(15):
                in_child(work)
            stop.set()
            for thread in threads:
                thread.join()
        """)
