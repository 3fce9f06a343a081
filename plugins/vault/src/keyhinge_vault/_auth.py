"""The auth methods: what each one sends, as a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from keyhinge import Secret, SecretFileError
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._names import api_path
from keyhinge_vault._server import Server
from keyhinge_vault._settings import VaultSettings

__all__ = ["SERVICE_ACCOUNT_TOKEN", "Credentials", "Login"]

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
"""Where Kubernetes puts a pod's token.

Source: Kubernetes' documentation, "Configure Service Accounts for Pods".
"""


class Login(NamedTuple):
    """A request that logs in; not shown, since it holds what must stay secret."""

    path: str
    body: dict[str, str]

    def __repr__(self) -> str:
        return "<Login>"


class Credentials:
    """What a section logs in with. Files are read each time that they are needed.

    Args:
        settings: The section's settings.
        server: For the environment's token.
    """

    def __init__(self, settings: VaultSettings, server: Server) -> None:
        self._settings = settings
        self.method: str = settings.auth_method
        self._token = settings.token or server.token
        self.logs_in = self.method in _LOGINS
        """Whether the method gets tokens by logging in."""

    def token(self) -> str | None:
        """Give the token to use as it is; None where there is none.

        Raises:
            ServiceError: Its file can't be read.
        """
        if self.method == "none":
            return None
        if self._token is None:
            raise ServiceError("no-token")
        return _revealed(self._token)

    def login(self) -> Login:
        """Make the request that logs in.

        Raises:
            ServiceError: A file of it can't be read.
        """
        settings = self._settings
        mount = (settings.auth_mount or self.method).strip("/")
        more, body = _LOGINS[self.method](settings)
        return Login(api_path(f"auth/{mount}", "login", *more), body)

    def __repr__(self) -> str:
        return f"<Credentials for {self.method}>"


def _revealed(secret: Secret) -> str:
    failed = False
    text = ""
    try:
        text = secret.reveal()
    except SecretFileError:
        failed = True
    if failed or not text.isascii() or not text.isprintable():
        raise ServiceError("secret-file")
    return text


def _userpass(own: VaultSettings) -> tuple[list[str], dict[str, str]]:
    assert own.username is not None and own.password is not None  # noqa: S101, PT018 - checked there
    return [own.username], {"password": _password(own.password)}


def _password(secret: Secret) -> str:
    failed = False
    text = ""
    try:
        text = secret.reveal()  # other than a token it goes into JSON, so it may hold anything
    except SecretFileError:
        failed = True
    if failed:
        raise ServiceError("secret-file")
    return text


def _approle(own: VaultSettings) -> tuple[list[str], dict[str, str]]:
    body = {"role_id": own.role_id or ""}
    if own.secret_id is not None:
        body["secret_id"] = _password(own.secret_id)
    return [], body


def _jwt(own: VaultSettings) -> tuple[list[str], dict[str, str]]:
    assert own.token is not None  # noqa: S101 - the settings hold it
    return [], {"jwt": _revealed(own.token), **_role(own)}


def _kubernetes(own: VaultSettings) -> tuple[list[str], dict[str, str]]:
    token = own.token or Secret.from_file(SERVICE_ACCOUNT_TOKEN)
    return [], {"jwt": _revealed(token), **_role(own)}


def _cert(own: VaultSettings) -> tuple[list[str], dict[str, str]]:
    return [], {"name": own.role} if own.role else {}


def _role(own: VaultSettings) -> dict[str, str]:
    return {"role": own.role} if own.role else {}


_LOGINS: dict[str, Callable[[Any], tuple[list[str], dict[str, str]]]] = {
    "userpass": _userpass,
    "approle": _approle,
    "jwt": _jwt,
    "kubernetes": _kubernetes,
    "cert": _cert,
}
"""For each method what stands behind `login` in the path, and the body."""
