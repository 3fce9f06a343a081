"""The async forms: nothing blocks the loop, and what is blocking goes to a bounded pool."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from keyhinge import (
    Capabilities,
    ClosedError,
    Decrypt,
    Encrypt,
    EncryptedValue,
    InvalidCiphertextError,
    InvalidContextError,
    InvalidPlaintextError,
    ProviderContractError,
    Sealed,
    hookimpl,
)
from keyhinge._async import POOL_THREADS

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")


class Gate:
    """Holds calls back until it is opened, and counts how many wait."""

    def __init__(self):
        self.open = threading.Event()
        self.lock = threading.Lock()
        self.now = self.most = 0

    def wait(self):
        """Wait for the gate; in a thread of the pool."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.open.wait(30)
        with self.lock:
            self.now -= 1

    async def reached(self, number=1):
        """Let the loop turn until so many wait."""
        while self.now < number:  # noqa: ASYNC110 - they wait in threads
            await asyncio.sleep(0)


@pytest.fixture
def gate():
    """A gate, open at the end so that no thread is left waiting."""
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def slow(variant, gate):
    """A provider whose encrypt waits for the gate."""

    @hookimpl
    def encrypt(self, plaintext, context):
        gate.wait()
        return self.own_encrypt(plaintext, context)

    return variant(keyhinge_encrypt=encrypt)


def record(threads, result=None):
    """A hook that notes the thread it runs in."""

    def hook(self, plaintext, context):
        threads.append(threading.current_thread())
        return self.own_encrypt(plaintext, context) if result is None else result

    return hookimpl(hook)


@pytest.mark.asyncio
class TestForms:
    async def test_round_trip(self, opened):
        async with opened("a", "b") as keys:
            context = {"a": "1"}
            value = await keys.aencrypt(b"x", context=context)
            assert await keys.adecrypt(value, context=context) == b"x"
            again = await keys.arewrap(value, context=context)
            assert await keys.adecrypt(again, context=context) == b"x"
            (sealed,) = await keys.aencrypt_many([Encrypt(b"y", {})], section="b")
            (found,) = await keys.adecrypt_many([Decrypt(sealed.value, {})])
            assert (sealed.value.section, found.value) == ("b", b"y")
            (moved,) = await keys.arewrap_many([Decrypt(value, context)])
            assert keys.decrypt(moved.value, context=context) == b"x"
            assert await keys.acurrent_key("b") == keys.current_key("b")
            assert (await keys.acheck()).ok
        with pytest.raises(ClosedError):
            keys.encrypt(b"x", context={})

    async def test_errors_are_the_same(self, opened):
        keys = opened("a")
        value = await keys.aencrypt(b"x", context={})
        with pytest.raises(InvalidCiphertextError):
            await keys.adecrypt(value, context={"a": "b"})
        with pytest.raises(InvalidContextError):
            await keys.aencrypt(b"x", context=None)
        with pytest.raises(InvalidPlaintextError):
            await keys.aencrypt("x", context={})
        with pytest.raises(TypeError, match="must be an EncryptedValue"):
            await keys.adecrypt("x", context={})

    async def test_after_close(self, opened):
        keys = opened("a")
        value = keys.encrypt(b"x", context={})
        await keys.aclose()
        await keys.aclose()
        for call in (
            keys.aencrypt(b"x", context={}),
            keys.adecrypt(value, context={}),
            keys.arewrap(value, context={}),
            keys.aencrypt_many([]),
            keys.adecrypt_many([]),
            keys.acurrent_key(),
            keys.acheck(),
        ):
            with pytest.raises(ClosedError):
                await call
        assert keys._pool._executor is None  # no threads are started to say so


@pytest.mark.asyncio
class TestWhereItRuns:
    async def test_blocking_goes_to_a_thread_with_context_variables(self, opened, variant):
        seen = []

        @hookimpl
        def encrypt(self, plaintext, context):
            seen.append((threading.current_thread(), REQUEST.get()))
            REQUEST.set("changed")
            return self.own_encrypt(plaintext, context)

        keys = opened("a", using=variant(keyhinge_encrypt=encrypt))
        REQUEST.set("r-1")
        await keys.aencrypt(b"x", context={})
        ((thread, request),) = seen
        assert thread is not threading.current_thread()
        assert request == "r-1"
        assert REQUEST.get() == "r-1"

    async def test_what_needs_no_io_runs_inline(self, opened, variant):
        threads: list[threading.Thread] = []
        caps = Capabilities(encrypts=True, binds_context=True, blocking=False)
        keys = opened("a", using=variant(capabilities=caps, keyhinge_encrypt=record(threads)))
        value = await keys.aencrypt(b"x", context={})
        assert await keys.adecrypt(value, context={}) == b"x"
        assert threads == [threading.current_thread()]
        assert keys._pool._executor is None

    async def test_nowait_hooks_run_inline(self, opened, variant):
        threads: list[threading.Thread] = []

        @hookimpl
        def decrypt_nowait(self, value, context):
            threads.append(threading.current_thread())
            return self.keyhinge_decrypt(value, context)

        keys = opened(
            "a",
            using=variant(
                keyhinge_encrypt_nowait=record(threads), keyhinge_decrypt_nowait=decrypt_nowait
            ),
        )
        value = await keys.aencrypt(b"x", context={"a": "1"})
        assert await keys.adecrypt(value, context={"a": "1"}) == b"x"
        assert threads == [threading.current_thread()] * 2
        assert keys._pool._executor is None
        with pytest.raises(InvalidCiphertextError) as caught:
            await keys.adecrypt(value, context={})
        assert (caught.value.section, caught.value.operation) == ("a", "decrypt")
        with pytest.raises(InvalidPlaintextError):
            await keys.aencrypt("x", context={})

    async def test_nowait_that_would_have_to_wait(self, opened, variant):
        threads: list[threading.Thread] = []
        none = hookimpl(lambda self, plaintext, context: None)
        none_too = hookimpl(lambda self, value, context: None)
        keys = opened(
            "a",
            using=variant(
                keyhinge_encrypt_nowait=none,
                keyhinge_decrypt_nowait=none_too,
                keyhinge_encrypt=record(threads),
            ),
        )
        value = await keys.aencrypt(b"x", context={})
        assert await keys.adecrypt(value, context={}) == b"x"
        assert threads
        assert threads[0] is not threading.current_thread()

    @pytest.mark.parametrize("result", ["text", b"x", Sealed(b""), 0])
    async def test_nowait_rubbish(self, opened, variant, result):
        encrypt = hookimpl(lambda self, plaintext, context: result)
        decrypt = hookimpl(lambda self, value, context: "text")
        keys = opened(
            "a", using=variant(keyhinge_encrypt_nowait=encrypt, keyhinge_decrypt_nowait=decrypt)
        )
        with pytest.raises(ProviderContractError):
            await keys.aencrypt(b"x", context={})
        with pytest.raises(ProviderContractError):
            await keys.adecrypt(EncryptedValue("a", "toy", "1", b"x"), context={})

    async def test_with_observers_everything_goes_to_the_pool(self, opened, variant):
        threads: list[threading.Thread] = []

        class Watcher:
            @hookimpl(wrapper=True)
            def keyhinge_operation(self, operation):
                threads.append(threading.current_thread())
                return (yield)

        caps = Capabilities(encrypts=True, binds_context=True, blocking=False)
        keys = opened("a", using=variant(capabilities=caps), observers=[Watcher()])
        value = await keys.aencrypt(b"x", context={})
        assert await keys.adecrypt(value, context={}) == b"x"
        assert len(threads) == 2
        assert threading.current_thread() not in threads


@pytest.mark.asyncio
class TestLoop:
    async def test_the_loop_turns_meanwhile(self, opened, slow, gate):
        """Counted in turns of the loop, not in seconds: 1,000 of them during one call."""
        keys = opened("a", using=slow)
        task = asyncio.create_task(keys.aencrypt(b"x", context={}))
        await gate.reached()
        for _ in range(1000):
            await asyncio.sleep(0)
        assert not task.done()
        gate.open.set()
        assert keys.decrypt(await task, context={}) == b"x"

    async def test_closing_does_not_block_it_either(self, opened, variant, gate):
        @hookimpl
        def close(self):
            gate.wait()

        keys = opened("a", using=variant(keyhinge_close=close))
        task = asyncio.create_task(keys.aclose())
        await gate.reached()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not task.done()
        gate.open.set()
        await task

    async def test_concurrency_is_bounded(self, opened, slow, gate):
        keys = opened("a", using=slow)
        tasks = [
            asyncio.create_task(keys.aencrypt(b"x", context={})) for _ in range(5 * POOL_THREADS)
        ]
        await gate.reached(POOL_THREADS)
        for _ in range(1000):
            await asyncio.sleep(0)
        gate.open.set()
        await asyncio.gather(*tasks)
        assert gate.most == POOL_THREADS

    async def test_cancelled(self, opened, slow, gate):
        keys = opened("a", using=slow)
        tasks = [
            asyncio.create_task(keys.aencrypt(b"x", context={})) for _ in range(3 * POOL_THREADS)
        ]
        await gate.reached(POOL_THREADS)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        gate.open.set()
        # What was under way ends; what had not begun never does; the pool works on.
        value = await keys.aencrypt(b"y", context={})
        assert keys.decrypt(value, context={}) == b"y"
        assert gate.most == POOL_THREADS

    async def test_close_while_calls_are_under_way(self, opened, slow, gate):
        keys = opened("a", using=slow)
        task = asyncio.create_task(keys.aencrypt(b"x", context={}))
        await gate.reached()
        await keys.aclose()
        gate.open.set()
        assert (await task).section == "a"
        with pytest.raises(ClosedError):
            await keys.aencrypt(b"x", context={})


def test_several_loops(opened):
    """One KeyManager may serve several event loops, one after the other and side by side."""
    keys = opened("a")

    async def use():
        value = await keys.aencrypt(b"x", context={})
        assert await keys.adecrypt(value, context={}) == b"x"

    asyncio.run(use())
    threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(use())
