"""A real moto server in a process of its own: it stands for AWS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.services.ports import free_port, wait_until

REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "AKIAKEYHINGETESTS000", "m0t0-s3cr3t-k3y-of-keyhinge-tests"
_ROOT = Path(__file__).parents[2]
_PLAIN = ["-c", "import sys; from moto.server import main; main(sys.argv[1:])"]
_STRICT = ["-m", "tests.services.kms_strict"]


class Moto:
    """A moto server, which a test may stop, freeze and start again.

    Args:
        strict: Whether it is made to answer as KMS does: see `kms_strict.py`.
        account: The number of the account that it stands for.
    """

    def __init__(self, *, strict: bool = False, account: str = "123456789012") -> None:
        self._program = _STRICT if strict else _PLAIN
        self._account = account
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-W", "ignore", *self._program]
        kept = {
            name: text
            for name, text in os.environ.items()
            if "PROXY" not in name.upper() and not name.startswith("AWS_")
        }
        self._process = subprocess.Popen(
            [*command, "-H", "127.0.0.1", "-p", str(self.port)],
            cwd=_ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**kept, "MOTO_ACCOUNT_ID": self._account},
        )
        wait_until(self._answers, 60, self._process)

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/moto-api/data.json", timeout=5):
                return True
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Send a signal to it."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """Kill it, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def client(
        self,
        service: str = "kms",
        region: str = REGION,
        keys: tuple[str, str] = (ACCESS_KEY, SECRET_KEY),
    ) -> Any:
        """Make a bare boto3 client for it; the caller closes it."""
        import boto3
        from botocore.config import Config

        session = boto3.session.Session(*keys, region_name=region)
        config = Config(proxies={}, retries={"total_max_attempts": 1})
        return session.client(service, endpoint_url=self.url, config=config)  # type: ignore[call-overload]

    def user(self, name: str, policy: str) -> tuple[str, str]:
        """Make an IAM user with one policy; give the access key and secret key.

        The strict server asks the policy at every call of this user to KMS.
        """
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="given", PolicyDocument=policy)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        iam.close()
        return made["AccessKeyId"], made["SecretAccessKey"]
