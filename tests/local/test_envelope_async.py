"""In an event loop: what has its data key at hand needs no thread."""

from __future__ import annotations

import asyncio

import pytest
from tests.local._envelope import CONTEXT, commitment_of

from keyhinge import InvalidCiphertextError, InvalidContextError
from keyhinge.testing._support import with_changes


class Pool:
    """Counts what is sent to threads."""

    def __init__(self, keys):
        self.calls = 0
        self._run = keys._pool.run
        keys._pool.run = self

    async def __call__(self, call):
        self.calls += 1
        return await self._run(call)


@pytest.mark.asyncio
async def test_warm_calls_need_no_thread(open_keys):
    keys = open_keys()
    pool = Pool(keys)
    value = await keys.aencrypt(b"x", context=CONTEXT)
    assert pool.calls == 1  # somebody has to make the data key
    for _ in range(20):
        again = await keys.aencrypt(b"x", context=CONTEXT)
        assert commitment_of(again) == commitment_of(value)
        assert await keys.adecrypt(again, context=CONTEXT) == b"x"
    assert pool.calls == 1


@pytest.mark.asyncio
async def test_cold_calls_go_to_a_thread(open_keys, kms):
    """So that a slow key service never stops the loop."""
    value = open_keys().encrypt(b"x", context=CONTEXT)
    reader = open_keys()
    pool = Pool(reader)
    assert await reader.adecrypt(value, context=CONTEXT) == b"x"
    assert pool.calls == 1
    assert await reader.adecrypt(value, context=CONTEXT) == b"x"
    assert pool.calls == 1


@pytest.mark.asyncio
async def test_large_values_go_to_a_thread(open_keys):
    """Their encryption alone would stop the loop for too long."""
    keys = open_keys()
    pool = Pool(keys)
    small = await keys.aencrypt(b"x", context=CONTEXT)
    assert pool.calls == 1
    large = await keys.aencrypt(bytes(300_000), context=CONTEXT)
    assert pool.calls == 2
    assert commitment_of(large) == commitment_of(small)
    assert await keys.adecrypt(large, context=CONTEXT) == bytes(300_000)
    assert pool.calls == 3


@pytest.mark.asyncio
async def test_refused_at_once(open_keys, kms):
    """What is wrong is told the same way, whichever path finds it."""
    keys = open_keys(partitionBy=["account"])
    value = await keys.aencrypt(b"x", context=CONTEXT)
    kms.calls.clear()
    changed = with_changes(
        value, ciphertext=value.ciphertext[:-1] + bytes([value.ciphertext[-1] ^ 1])
    )
    for bad, context in ((changed, CONTEXT), (value, {}), (value, {"account": "acct_2"})):
        with pytest.raises(InvalidCiphertextError):
            await keys.adecrypt(bad, context=context)
    with pytest.raises(InvalidContextError, match="lacks account"):
        await keys.aencrypt(b"x", context={})
    assert sum(kms.calls.values()) <= 1


@pytest.mark.asyncio
async def test_many_at_once(open_keys, kms):
    """A hundred tasks that begin without a data key make one."""
    keys = open_keys()
    values = await asyncio.gather(*(keys.aencrypt(b"x", context=CONTEXT) for _ in range(100)))
    assert len(set(map(commitment_of, values))) == 1
    assert kms.calls == {"encrypt": 1, "decrypt": 1}
    opened = await asyncio.gather(*(keys.adecrypt(value, context=CONTEXT) for value in values))
    assert opened == [b"x"] * 100


@pytest.mark.asyncio
async def test_limits_hold(open_keys):
    keys = open_keys(maxMessages=10)
    values = [await keys.aencrypt(b"x", context=CONTEXT) for _ in range(35)]
    counts = [list(map(commitment_of, values)).count(c) for c in set(map(commitment_of, values))]
    assert max(counts) <= 10
