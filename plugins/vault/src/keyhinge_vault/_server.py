"""Where the server is and how to talk to it: the settings, and the environment below them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import attrs

from keyhinge import ConfigError, Problem, Secret, Section
from keyhinge_vault._endpoint import Origin, endpoint_problem, origin_of, parse_origin
from keyhinge_vault._names import namespace_problem
from keyhinge_vault._settings import VaultSettings

__all__ = ["CONNECT_SECONDS", "Server"]

CONNECT_SECONDS = 5.0
"""How long connecting may take, TLS handshake included, if the time-out isn't shorter."""


@attrs.frozen
class Server:
    """What a connection needs to know. Nothing in it is read from anywhere later, but files.

    Attributes:
        section: The section's name, for logs.
        endpoint: The URL without a slash at its end.
        namespace: The namespace; "" for none.
        ca: The certificates that vouch for the server; None for the system's.
        certificate: The client certificate.
        key: Its key.
        insecure: Whether any server is believed.
        proxy: The proxy's URL.
        redirects: Where a redirect may lead, the endpoint itself included.
        timeout: Seconds for one request.
        retry_for: Seconds for which a call is tried again.
        token: The environment's token, for `authMethod: token` without one in the file.
        variables: How this provider's environment variables begin, for messages.
    """

    section: str
    endpoint: str
    namespace: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    proxy: Secret | None = None
    redirects: frozenset[Origin] = frozenset()
    timeout: float = 15.0
    retry_for: float = 30.0
    token: Secret | None = None
    variables: str = "VAULT"

    @classmethod
    def of(cls, settings: VaultSettings, section: Section) -> Server:
        """Put settings and environment together. Reads no file.

        Raises:
            ConfigError: There is no endpoint, or a variable holds rubbish.
        """
        prefix = settings.VARIABLES
        environ = _Environ(section, prefix)
        endpoint = settings.endpoint or environ.endpoint()
        if not endpoint:
            missing = f"this key is missing, and {prefix}_ADDR isn't set either"
            raise ConfigError(Problem(f"{section.path}.endpoint", missing))
        namespace = settings.namespace
        if namespace is None:
            namespace = environ.namespace()
        endpoint = endpoint.rstrip("/")
        token = environ.get("TOKEN")
        return cls(
            section=section.name,
            endpoint=endpoint,
            namespace=namespace.strip("/"),
            ca=_absolute(section, settings.tls_ca_path or environ.ca()),
            certificate=_absolute(section, settings.tls_certificate_path),
            key=_absolute(section, settings.tls_key_path),
            insecure=settings.insecure_skip_verify,
            proxy=settings.proxy if settings.proxy and settings.proxy.reveal() else None,
            redirects=_origins(endpoint, settings.allow_redirect_to),
            timeout=settings.timeout,
            retry_for=settings.retry_for,
            token=Secret(token) if token else None,
            variables=prefix,
        )

    @property
    def origin(self) -> Origin:
        """Host and port of the endpoint."""
        return origin_of(self.endpoint)

    @property
    def is_tls(self) -> bool:
        """Whether the endpoint is spoken to over TLS."""
        return self.endpoint.lower().startswith("https:")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        msg = "Server may hold a token and can't be pickled or copied"
        raise TypeError(msg)


class _Environ:
    """The environment's word, where the settings have none."""

    def __init__(self, section: Section, prefix: str) -> None:
        self._section = section
        self._prefix = prefix
        self._environ: Mapping[str, str] = section.environ

    def get(self, name: str) -> str:
        return self._environ.get(f"{self._prefix}_{name}", "")

    def endpoint(self) -> str:
        return self._checked("ADDR", "endpoint", endpoint_problem)

    def namespace(self) -> str:
        return self._checked("NAMESPACE", "namespace", _namespace_problem)

    def ca(self) -> Path | None:
        text = self.get("CACERT")
        # A variable's relative path means the working directory, as for every other program.
        return Path(os.path.abspath(text)) if text else None  # noqa: PTH100 - "..", too

    def _checked(self, name: str, key: str, look: Callable[[str], str | None]) -> str:
        text = self.get(name)
        problem = look(text) if text else None
        if problem is not None:
            message = f"{self._prefix}_{name}, which stands in for it, {problem}"
            raise ConfigError(Problem(f"{self._section.path}.{key}", message))
        return text


def _namespace_problem(text: str) -> str | None:
    return namespace_problem(text.strip("/"))


def _absolute(section: Section, path: Path | None) -> Path | None:
    return None if path is None else section.base_dir / path


def _origins(endpoint: str, others: Iterable[str]) -> frozenset[Origin]:
    return frozenset([origin_of(endpoint), *(parse_origin(other) for other in others)])
