"""One value through KMS: KeyManager against the bare boto3 call, and a batch against one by one.

Both call the same moto server on loopback, in turns within one run, and the median of each is
kept: the target is a ratio. moto takes most of the time, as KMS and the network would, so the
difference in microseconds is printed, too. The batch shows what eight calls at once give; moto
is one Python process, so that it gives less here than with KMS.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from keyhinge import Encrypt, KeyManager

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

ROUNDS = 600
WARM_UP = 30
BATCH = 400
PLAINTEXT = os.urandom(256)
CONTEXT = {"account": "acct_1", "secret": "sec_1"}
REGION, ACCESS_KEY, SECRET_KEY = "us-east-1", "AKIABENCHMARK", "benchmark"
TARGET = 1.1


@contextmanager
def server() -> Iterator[str]:
    """Start moto on a free port; give its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "import sys; from moto.server import main; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit("moto_server ended; is moto[server] installed?")
            try:
                opener.open(f"{url}/moto-api/data.json", timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def cases(
    keys: KeyManager, client: KMSClient, key: str
) -> dict[str, tuple[Callable[[], Any], ...]]:
    """Give the bare call and ours, by name."""
    value = keys.encrypt(PLAINTEXT, context=CONTEXT)
    blob = value.ciphertext

    def bare_encrypt() -> object:
        return client.encrypt(KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)

    def bare_decrypt() -> object:
        return client.decrypt(KeyId=key, CiphertextBlob=blob, EncryptionContext=CONTEXT)

    return {
        "encrypt": (bare_encrypt, lambda: keys.encrypt(PLAINTEXT, context=CONTEXT)),
        "decrypt": (bare_decrypt, lambda: keys.decrypt(value, context=CONTEXT)),
    }


def measure(calls: tuple[Callable[[], Any], ...]) -> list[list[float]]:
    """Return the times of each call in microseconds, made in turns, each first as often."""
    times: list[list[float]] = [[] for _ in calls]
    for round_ in range(WARM_UP + ROUNDS):
        order = range(len(calls)) if round_ % 2 else reversed(range(len(calls)))
        for index in order:
            began = time.perf_counter()
            calls[index]()
            took = (time.perf_counter() - began) * 1e6
            if round_ >= WARM_UP:
                times[index].append(took)
    return times


def batch(keys: KeyManager) -> float:
    """Return how many times faster a batch is than its values one by one."""
    items = [Encrypt(PLAINTEXT, CONTEXT)] * BATCH
    began = time.perf_counter()
    for item in items:
        keys.encrypt(item.plaintext, context=item.context)
    one_by_one = time.perf_counter() - began
    began = time.perf_counter()
    assert all(outcome.error is None for outcome in keys.encrypt_many(items))
    return one_by_one / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print one line for each case."""
    with server() as url:
        session = boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
        client = session.client("kms", endpoint_url=url, config=Config(proxies={}))
        key = client.create_key()["KeyMetadata"]["Arn"]
        block = {"region": REGION, "endpoint": url, "keyID": key}
        block |= {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        config = {"keyManagement": {"provider": "aws", "aws": block}}
        with KeyManager.open(config, environ={}) as keys:
            print(f"{'µs':10}{'boto3':>10}{'ours':>10}{'more':>8}{'ratio':>8}{'target':>8}")
            for name, calls in cases(keys, client, key).items():
                bare, ours = (statistics.median(times) for times in measure(calls))
                line = f"{name:10}{bare:10.0f}{ours:10.0f}{ours - bare:8.0f}{ours / bare:8.3f}"
                print(f"{line}{f'≤ {TARGET}':>8}")
            print(f"\n{BATCH} values in a batch, against one by one: {batch(keys):.1f} × as fast")
        client.close()


if __name__ == "__main__":
    main()
