"""What tests set up on a server: keys, policies, tokens, auth methods. All names are new ones."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._kubernetes import Signer, TokenReviewStub
from ._server import ApiError, ServerProcess

Settings = dict[str, Any]
"""Keys of the configuration, as in the YAML file."""

_numbers = itertools.count(1)


class Bao(ServerProcess):
    """A server and what tests set up on it. The auth methods' helpers give settings to log in."""

    @staticmethod
    def name(stem: str) -> str:
        """Make a name that no other test has."""
        return f"{stem}-{next(_numbers)}"

    def mount(self, path: str | None = None, *, namespace: str = "", kind: str = "transit") -> str:
        """Mount a secrets engine; Transit at a new path if nothing else is said."""
        path = path or self.name("transit")
        self.api("POST", f"sys/mounts/{path}", {"type": kind}, namespace=namespace)
        return path

    def key(
        self,
        name: str | None = None,
        *,
        mount: str = "transit",
        namespace: str = "",
        **options: Any,
    ) -> str:
        """Make a Transit key, as `derived=True`; mounts `transit` where it isn't."""
        name = name or self.name("key")
        if mount == "transit":
            mounts = self.api("GET", "sys/mounts", namespace=namespace)["data"]
            if "transit/" not in mounts:
                self.mount("transit", namespace=namespace)
        self.api("POST", f"{mount}/keys/{name}", options, namespace=namespace)
        return name

    def namespace(self) -> str:
        """Make a namespace."""
        name = self.name("ns")
        self.api("POST", f"sys/namespaces/{name}")
        return name

    def policy(self, rules: Mapping[str, Sequence[str]] | str, *, namespace: str = "") -> str:
        """Make a policy from `{path: [capability, …]}` or from its text."""
        name = self.name("policy")
        if not isinstance(rules, str):
            rules = "\n".join(
                f'path "{path}" {{ capabilities = {json.dumps(list(rights))} }}'
                for path, rights in rules.items()
            )
        self.api("PUT", f"sys/policies/acl/{name}", {"policy": rules}, namespace=namespace)
        return name

    def transit_policy(
        self,
        key: str,
        *,
        mount: str = "transit",
        can: Sequence[str] = ("encrypt", "decrypt", "rewrap"),
        read: bool = True,
        namespace: str = "",
    ) -> str:
        """Make a policy for the use of one key."""
        rules: dict[str, Sequence[str]] = {f"{mount}/{verb}/{key}": ["update"] for verb in can}
        if read:
            rules[f"{mount}/keys/{key}"] = ["read"]
        return self.policy(rules, namespace=namespace)

    def token(
        self,
        policies: Sequence[str] = (),
        *,
        ttl: str = "1h",
        namespace: str = "",
        **options: Any,
    ) -> str:
        """Make a token; options as `num_uses`, `explicit_max_ttl`, `type="batch"`, `renewable`,
        `period`, `no_default_policy`."""
        # With no policy at all it would have root's.
        body = {"policies": list(policies) or ["default"], "ttl": ttl, "no_parent": True}
        body.update(options)
        if options.get("type") == "batch":
            del body["no_parent"]
        answer = self.api("POST", "auth/token/create-orphan", body, namespace=namespace)
        token: str = answer["auth"]["client_token"]
        return token

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        self.api("POST", "auth/token/revoke", {"token": token})

    def lives(self, token: str) -> bool:
        """Tell whether a token is still valid."""
        try:
            self.api("POST", "auth/token/lookup", {"token": token})
        except ApiError:
            return False
        return True

    def limit_requests(self, path: str, rate: float, interval: str = "1s") -> str:
        """Set a rate limit quota on a path (429 beyond it); give its name for `unlimit`."""
        name = self.name("quota")
        body = {"path": path, "rate": rate, "interval": interval}
        self.api("POST", f"sys/quotas/rate-limit/{name}", body)
        return name

    def unlimit(self, name: str) -> None:
        """Take a rate limit away."""
        self.api("DELETE", f"sys/quotas/rate-limit/{name}")

    # -- Auth methods: each at a new mount; `token` as in token_ttl="4s" ---------------------

    def userpass(self, policies: Sequence[str] = (), **token: Any) -> Settings:
        """Make a user; `token` are options as `token_ttl="4s"`, `token_max_ttl="8s"`,
        `token_num_uses=3`, `token_type="batch"`, `token_no_default_policy=True`."""
        mount = self._auth("userpass")
        password = self.name("password") + "-p4ssw0rd"
        body = {"password": password, "token_policies": list(policies), **token}
        self.api("POST", f"auth/{mount}/users/app", body)
        return {
            "authMethod": "userpass",
            "authMount": mount,
            "username": "app",
            "password": password,
        }

    def approle(self, policies: Sequence[str] = (), **token: Any) -> Settings:
        """Make an AppRole, with a secret id unless `bind_secret_id=False`."""
        mount = self._auth("approle")
        self.api("POST", f"auth/{mount}/role/app", {"token_policies": list(policies), **token})
        role_id = self.api("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]
        settings = {"authMethod": "approle", "authMount": mount, "roleID": role_id}
        if token.get("bind_secret_id", True):
            answer = self.api("POST", f"auth/{mount}/role/app/secret-id", {})
            settings["secretID"] = answer["data"]["secret_id"]
        return settings

    def jwt(
        self, policies: Sequence[str] = (), *, seconds: float = 600, **token: Any
    ) -> tuple[Settings, Signer]:
        """Make a JWT role; gives the settings with a token that ends in `seconds`, and the signer
        for others (claims `sub`, `aud: keyhinge`, `exp`)."""
        mount, signer = self._auth("jwt"), Signer()
        self.api("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [signer.public_pem]})
        role = {"role_type": "jwt", "bound_audiences": ["keyhinge"], "user_claim": "sub"}
        body = {**role, "token_policies": list(policies), **token}
        self.api("POST", f"auth/{mount}/role/app", body)
        now = int(time.time())
        claims = {"sub": "app", "aud": "keyhinge", "iat": now, "exp": int(now + seconds)}
        settings = {
            "authMethod": "jwt",
            "authMount": mount,
            "role": "app",
            "token": signer.sign(claims),
        }
        return settings, signer

    def kubernetes(
        self,
        stub: TokenReviewStub,
        token_file: Path,
        policies: Sequence[str] = (),
        **token: Any,
    ) -> Settings:
        """Make a role for the service account `app` of `default`; its token goes into the file."""
        mount = self._auth("kubernetes")
        config = {
            "kubernetes_host": stub.url,
            "kubernetes_ca_cert": stub.ca_pem,
            "token_reviewer_jwt": stub.token("reviewer"),
            "disable_local_ca_jwt": True,
        }
        self.api("POST", f"auth/{mount}/config", config)
        role = {
            "bound_service_account_names": ["app"],
            "bound_service_account_namespaces": ["default"],
            "token_policies": list(policies),
        }
        self.api("POST", f"auth/{mount}/role/app", {**role, **token})
        token_file.write_text(stub.token())
        return {
            "authMethod": "kubernetes",
            "authMount": mount,
            "role": "app",
            "tokenFile": str(token_file),
        }

    def cert(
        self, policies: Sequence[str] = (), *, client: str = "client.example", **token: Any
    ) -> Settings:
        """Let a client certificate log in. Only on a server with TLS."""
        assert self.tls is not None, "the cert method needs a server with TLS"
        mount = self._auth("cert")
        body = {
            "certificate": self.tls.ca_path.read_text(),
            "allowed_common_names": [client],
            "token_policies": list(policies),
            **token,
        }
        self.api("POST", f"auth/{mount}/certs/app", body)
        return {
            "authMethod": "cert",
            "authMount": mount,
            "role": "app",
            **self.tls.settings(client),
        }

    def _auth(self, kind: str) -> str:
        path = self.name(kind)
        self.api("POST", f"sys/auth/{path}", {"type": kind})
        return path
