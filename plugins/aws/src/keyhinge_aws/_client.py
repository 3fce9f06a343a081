"""Clients of boto3: one for each process and region, made when they are first needed."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from keyhinge import ClosedError, OperationError
from keyhinge_aws._errors import make, translate
from keyhinge_aws._meanings import SETTINGS
from keyhinge_aws._quiet import quiet
from keyhinge_aws._settings import AwsSettings, split
from keyhinge_aws._target import parse_target, region_problem

if TYPE_CHECKING:
    from botocore.config import Config
    from botocore.credentials import Credentials
    from mypy_boto3_kms import KMSClient

_log = logging.getLogger("keyhinge.aws")

ATTEMPTS = 3
CONNECT_SECONDS = 5.0
# Not only for 32 threads: a batch has up to eight of its own for each thread that calls.
CONNECTIONS = 64
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@attrs.define(eq=False)
class _Process:
    """What belongs to one process: a child makes its own."""

    pid: int = attrs.field(factory=os.getpid)
    lock: threading.Lock = attrs.field(factory=threading.Lock)
    session: Any = None
    credentials: Any = None
    home: str = ""
    clients: dict[str, Any] = attrs.field(factory=dict)


class Clients:
    """Makes and keeps the clients of one section.

    Args:
        settings: The section's settings.
        environ: The environment variables.
        name: The section's name; it becomes the name of a role's session.
    """

    def __init__(self, settings: AwsSettings, environ: Mapping[str, str], name: str) -> None:
        self.settings = settings
        self.environ = environ
        self.endpoint = settings.endpoint or endpoint_of(environ)
        self._name = name
        self._closed = False
        self._process = _Process()

    def __repr__(self) -> str:
        return "<Clients, credentials hidden>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Clients holds credentials and connections, and can't be copied or pickled"
        raise TypeError(msg)

    def home(self) -> str:
        """Tell the region of the key that encrypts.

        Raises:
            OperationError: Nothing names one.
        """
        return self._process.home or self._ready().home

    def kms(self, region: str) -> KMSClient:
        """Give this process's client for a region.

        Raises:
            OperationError: It can't be made.
            ClosedError: The section was closed.
        """
        process = self._process
        if process.pid == os.getpid():
            client: KMSClient | None = process.clients.get(region)
            if client is not None:
                return client
        process = self._ready()
        failure = None
        with process.lock, quiet():
            try:
                return self._make(process, region)
            except Exception as error:  # noqa: BLE001 - told apart there
                failure = translate(error, "making a client")
        raise failure

    def credentials(self) -> Credentials:
        """Give the credentials that calls are signed with.

        Raises:
            OperationError: There are none.
        """
        credentials: Credentials = self._ready().credentials
        return credentials

    def close(self) -> None:
        """Close the connections. Later calls raise `ClosedError`."""
        self._closed = True
        process, self._process = self._process, _Process()
        if process.pid != os.getpid():
            return  # they belong to the parent
        for client in process.clients.values():
            client.close()

    def _ready(self) -> _Process:
        """Give this process's session, with region and credentials found."""
        if self._closed:
            raise ClosedError("the section is closed")
        process = self._process
        if process.pid != os.getpid():
            # Not under a lock: the parent's may be held by a thread that isn't here. Two threads
            # at once would make two, of which the later one stays.
            process = self._process = _Process()
        failure = None
        with process.lock:
            if process.session is not None:
                return process
            try:
                self._begin(process)
                return process
            except Exception as error:  # noqa: BLE001 - told apart there
                failure = translate(error, "looking for credentials")
        raise failure

    def _begin(self, process: _Process) -> None:
        import boto3  # noqa: F401 - so that all loggers are there before anything is logged
        import botocore.session

        from keyhinge_aws import _credentials

        if is_plain(self.endpoint):
            _log.warning(
                "section %s: the endpoint is plain http, so plaintexts cross the network "
                "unencrypted",
                self._name,
                extra={"event": "keyhinge.aws.endpoint_plain", "section": self._name},
            )
        with quiet():
            settings = self.settings
            session = botocore.session.Session(profile=settings.profile)
            home = self._region(session)
            session.set_config_variable("sts_regional_endpoints", "regional")
            if settings.access_key is not None and settings.secret_key is not None:
                keys = (settings.access_key, settings.secret_key, settings.session_token)
                _credentials.use(session, _credentials.SecretCredentials(*keys))
            else:
                _read_environment(session, self.environ)
            credentials = _credentials.found(session)
            if settings.role_arn is not None:
                role = _Role(session, settings, self._sts_endpoint(), home, self._name)
                session = botocore.session.Session(profile=settings.profile)
                credentials = _credentials.RoleCredentials(role)
                _credentials.use(session, credentials)
        process.home, process.credentials, process.session = home, credentials, session

    def _region(self, session: Any) -> str:
        region = (
            parse_target(self.settings.key_id).region
            or self.settings.region
            or self.environ.get("AWS_REGION")
            or self.environ.get("AWS_DEFAULT_REGION")
            or session.get_config_variable("region")
        )
        if not region:
            raise _no_region("no region is named: set `region`")
        if region_problem(region):
            raise _no_region("the region of the environment or profile isn't one; set `region`")
        return str(region)

    def _make(self, process: _Process, region: str) -> KMSClient:
        made: KMSClient | None = process.clients.get(region)
        if made is None:
            import boto3

            session = boto3.session.Session(botocore_session=process.session, region_name=region)
            config = config_of(self.settings, self.endpoint)
            made = session.client("kms", endpoint_url=self.endpoint, config=config)
            process.clients[region] = made
        return made

    def _sts_endpoint(self) -> str | None:
        return endpoint_of(self.environ, "STS")


class _Role:
    """Calls STS for a role; the client is made at the first call."""

    def __init__(
        self, session: Any, settings: AwsSettings, endpoint: str | None, region: str, name: str
    ) -> None:
        self._session = session
        self._settings = settings
        self._endpoint = endpoint
        self._region = region
        self._name = f"keyhinge-{name}"
        self._client: Any = None

    def __call__(self) -> dict[str, Any]:
        if self._client is None:
            config = config_of(self._settings, self._endpoint)
            self._client = self._session.create_client(
                "sts", region_name=self._region, endpoint_url=self._endpoint, config=config
            )
        asked = {"RoleArn": self._settings.role_arn, "RoleSessionName": self._name}
        if self._settings.external_id is not None:
            asked["ExternalId"] = self._settings.external_id
        answer: dict[str, Any] = self._client.assume_role(**asked)
        return answer


def endpoint_of(environ: Mapping[str, str], service: str = "KMS") -> str | None:
    """Give the endpoint that the environment names for a service, as botocore would."""
    if environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    return environ.get(f"AWS_ENDPOINT_URL_{service}") or environ.get("AWS_ENDPOINT_URL") or None


def config_of(settings: AwsSettings, endpoint: str | None) -> Config:
    """Make the clients' configuration: nothing of it is left to botocore's defaults."""
    from botocore.config import Config

    parts = split(endpoint) if endpoint else None
    more: dict[str, Any] = {}
    if parts is not None and parts.hostname in _LOOPBACK:
        more["proxies"] = {}  # what goes to this machine needs none
    if settings.use_fips:
        more["use_fips_endpoint"] = True
    return Config(
        connect_timeout=min(CONNECT_SECONDS, settings.timeout),
        read_timeout=settings.timeout,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=CONNECTIONS,
        **more,
    )


def is_plain(endpoint: str | None) -> bool:
    """Tell whether an endpoint is reached without TLS, over a network."""
    parts = split(endpoint) if endpoint else None
    return parts is not None and parts.scheme == "http" and parts.hostname not in _LOOPBACK


def _read_environment(session: Any, environ: Mapping[str, str]) -> None:
    """Have the chain look at the section's environment; the rest of the chain looks at its own."""
    from botocore.credentials import EnvProvider

    chain = session.get_component("credential_provider")
    if any(link.METHOD == EnvProvider.METHOD for link in chain.providers):
        chain.insert_before(EnvProvider.METHOD, EnvProvider(environ=environ))
        chain.providers.remove(
            [link for link in chain.providers if link.METHOD == EnvProvider.METHOD][1]
        )


def _no_region(reason: str) -> OperationError:
    return make(attrs.evolve(SETTINGS, reason=reason), "looking for the region")
