"""What an `envelope` section holds goes when the section does."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from pathlib import Path

import pytest

from keyhinge import ClosedError, KeyManager
from keyhinge_local import keyfile


@pytest.fixture
def keys(tmp_path: Path):
    """`envelope` over `local`."""
    keyfile.init(tmp_path / "a.key")
    blocks = {"envelope": {"over": "local"}, "local": {"keyFile": str(tmp_path / "a.key")}}
    with KeyManager.open({"keyManagement": {"provider": "envelope", **blocks}}, environ={}) as keys:
        yield keys


def test_reload_lets_go_at_once(keys):
    """Without waiting for the garbage collector."""
    value = keys.encrypt(b"x", context={})
    below = weakref.ref(keys._section("local"))
    gc.disable()
    try:
        keys.reload()
        assert below() is None
    finally:
        gc.enable()
    assert keys.decrypt(value, context={}) == b"x"


def test_closed_means_closed(keys):
    value = keys.encrypt(b"x", context={})
    provider = keys._section(None).encrypt.__self__
    keys.close()
    with pytest.raises(ClosedError):
        provider.keyhinge_encrypt(b"x", {})
    with pytest.raises(ClosedError):
        provider.keyhinge_decrypt(value, {})
    assert not provider._opening.cache.entries


def test_closed_by_the_garbage_collector(keys):
    """That may come while the thread in the background holds a lock, in that very thread."""
    keys.encrypt(b"x", context={})
    provider = keys._section(None).encrypt.__self__
    locks = [provider._renewal._lock, *(cache._lock for cache in provider._caches)]

    def collect():
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            provider.keyhinge_close()

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert not provider._opening.cache.entries
