"""Settings of `vault` and `openbao` sections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

from keyhinge import InvalidSettings, Secret, secret, setting, settings
from keyhinge_vault._endpoint import endpoint_problem, origin_problem, proxy_problem
from keyhinge_vault._names import (
    key_name_problem,
    mount_problem,
    namespace_problem,
    username_problem,
)

__all__ = ["AuthMethod", "OpenBaoSettings", "VaultSettings"]

AuthMethod = Literal["token", "kubernetes", "userpass", "approle", "jwt", "cert", "none"]

# What a method can't do without, by YAML key. `token` isn't here: it may come from the environment.
_NEEDS: dict[str, tuple[str, ...]] = {
    "token": (),
    "kubernetes": ("role",),
    "userpass": ("username", "password"),
    "approle": ("roleID",),
    "jwt": ("token",),
    "cert": ("tlsCertificatePath",),
    "none": (),
}
# What only one method looks at. Keys of the older files aren't here: those have leftovers.
_ONLY_FOR = {"roleID": "approle", "secretID": "approle"}
_TWINS = {"password", "token"}


@settings
class VaultSettings:
    """Settings of a `vault` section: a Transit key of HashiCorp Vault."""

    VARIABLES: ClassVar[str] = "VAULT"
    """How the environment variables begin that stand in for missing settings."""

    key_id: str = setting(
        alias="keyID",
        help="The name of the Transit key that encrypts. It is compared with what a value names, "
        "and a value of another key isn't opened unless `decryptKeyIDs` lists it.",
        example="app",
    )
    auth_method: AuthMethod = setting(
        default="token",
        alias="authMethod",
        help="How to log in. `token` uses a token as it is; `kubernetes`, `userpass`, `approle`, "
        "`jwt` and `cert` log in for one and keep it alive; `none` sends none, for an agent or a "
        "proxy that adds it.",
        example="kubernetes",
    )
    token: Secret | None = secret(
        default=None,
        help="For `token` the token itself, for `jwt` the JWT to log in with, for `kubernetes` the "
        "service account token in place of the pod's own. A file is read again when it changes.",
        example="hvs.…",
    )
    username: str | None = setting(default=None, help="The user, for `userpass`.", example="app")
    password: Secret | None = secret(default=None, help="The password, for `userpass`.")
    role: str | None = setting(
        default=None,
        help="The role to log in as: needed for `kubernetes`, possible for `jwt` and `cert`.",
        example="app",
    )
    role_id: str | None = setting(
        default=None, alias="roleID", help="The role's id, for `approle`.", example="3f2c…"
    )
    secret_id: Secret | None = secret(
        default=None,
        alias="secretID",
        help="The secret id, for `approle`; a role that binds no secret id needs none.",
    )
    endpoint: str | None = setting(
        default=None,
        help="The server's URL, with its port, and its path where the API is on a sub-route. "
        "Without it the environment's (`VAULT_ADDR`; for `openbao` `BAO_ADDR`).",
        example="https://vault.example.com:8200",
    )
    tls_certificate_path: Path | None = setting(
        default=None,
        alias="tlsCertificatePath",
        help="The client certificate (PEM, with its chain). Read again when it changes.",
        example="/etc/app/tls.crt",
    )
    tls_key_path: Path | None = setting(
        default=None,
        alias="tlsKeyPath",
        help="The client certificate's key (PEM, without a passphrase).",
        example="/etc/app/tls.key",
    )
    tls_ca_path: Path | None = setting(
        default=None,
        alias="tlsCAPath",
        help="The certificates (PEM, a file or a folder) that vouch for the server, in place of "
        "the system's. Read again when it changes. Without it the environment's (`VAULT_CACERT`; "
        "for `openbao` `BAO_CACERT`).",
        example="/etc/app/ca.crt",
    )
    insecure_skip_verify: bool = setting(
        default=False,
        alias="insecureSkipVerify",
        help="Whether to believe any server. Whoever is between gets tokens and plaintexts; a "
        "warning says so.",
    )
    mount: str = setting(
        default="transit", help="Where Transit is mounted.", example="teams/a/transit"
    )
    auth_mount: str | None = setting(
        default=None,
        alias="authMount",
        help="Where the auth method is mounted, below `auth/`; its own name if it isn't given.",
        example="kubernetes-eu",
    )
    namespace: str | None = setting(
        default=None,
        help="The namespace of Transit and of the auth method. Without it the environment's "
        "(`VAULT_NAMESPACE`; for `openbao` `BAO_NAMESPACE`).",
        example="company/team",
    )
    decrypt_key_ids: list[str] = setting(
        factory=list,
        alias="decryptKeyIDs",
        help="Other Transit keys that old values are under, beside `keyID`; they only decrypt.",
        example="[app-2024]",
    )
    allow_redirect_to: list[str] = setting(
        factory=list,
        alias="allowRedirectTo",
        help="Hosts (any port) or host:port that may be redirected to besides `endpoint` itself: "
        "the other nodes of a cluster whose standby nodes redirect. Token and plaintext go there.",
        example="[vault-1.example.com:8200]",
    )
    timeout: float = setting(
        default=15.0,
        help="Seconds that one request may take, from connecting to the answer's last byte. "
        "Connecting may take 5 of them.",
        minimum=0.1,
        maximum=600,
    )
    retry_for: float = setting(
        default=30.0,
        alias="retryFor",
        help="Seconds for which a call goes on trying while the server is down, sealed or asks "
        "for patience. 0 tries once.",
        minimum=0,
        maximum=3600,
    )
    proxy: Secret | None = secret(
        default=None,
        file_twin=False,
        help="The HTTP proxy to go through, as in `http://proxy.example.com:3128`; it may hold a "
        "password. The environment's proxies aren't used, but `${HTTPS_PROXY}` can stand here.",
    )

    def __attrs_post_init__(self) -> None:
        problems = {**_malformed(self), **_unfit(self)}
        if problems:
            raise InvalidSettings(problems)


@settings
class OpenBaoSettings(VaultSettings):
    """Settings of an `openbao` section: a Transit key of OpenBao."""

    VARIABLES: ClassVar[str] = "BAO"


def _given(own: VaultSettings) -> dict[str, object]:
    return {
        "token": own.token,
        "username": own.username,
        "password": own.password,
        "role": own.role,
        "roleID": own.role_id,
        "secretID": own.secret_id,
        "tlsCertificatePath": own.tls_certificate_path,
    }


def _malformed(own: VaultSettings) -> dict[str, str]:
    """Say what is wrong with values taken one by one."""
    mount = own.mount.strip("/")
    looks: list[tuple[str, str | None, Callable[[str], str | None]]] = [
        ("keyID", own.key_id, key_name_problem),
        ("username", own.username, username_problem),
        ("endpoint", own.endpoint, endpoint_problem),
        ("mount", mount, mount_problem),
        ("authMount", own.auth_mount and own.auth_mount.strip("/"), _auth_mount_problem),
        ("namespace", own.namespace.strip("/") if own.namespace else None, namespace_problem),
        ("proxy", own.proxy and own.proxy.reveal(), proxy_problem),
    ]
    looks += [("decryptKeyIDs", name, key_name_problem) for name in own.decrypt_key_ids]
    looks += [("allowRedirectTo", origin, origin_problem) for origin in own.allow_redirect_to]
    found = ((key, look(value)) for key, value, look in looks if value is not None)
    return {key: problem for key, problem in found if problem is not None}


def _auth_mount_problem(mount: str) -> str | None:
    if mount.startswith("auth/"):
        return "is below `auth/` already; leave that out"
    return mount_problem(mount)


def _unfit(own: VaultSettings) -> dict[str, str]:
    """Say what doesn't fit together."""
    problems = {}
    method = own.auth_method
    given = _given(own)
    for key in _NEEDS[method]:
        if given[key] is None or given[key] == "":
            twin = f" (or {key}File)" if key in _TWINS else ""
            problems[key] = f"is needed{twin} for authMethod {method}"
    for key, only in _ONLY_FOR.items():
        if given[key] is not None and method != only:
            problems[key] = f"is for authMethod {only}, and this is {method}"
    if own.auth_mount is not None and method in {"token", "none"}:
        problems["authMount"] = f"means a login, and authMethod {method} has none"
    if (own.tls_certificate_path is None) != (own.tls_key_path is None):
        missing, other = "tlsKeyPath", "tlsCertificatePath"
        if own.tls_certificate_path is None:
            missing, other = other, missing
        problems[missing] = f"is needed beside {other}: both or neither"
    return problems
