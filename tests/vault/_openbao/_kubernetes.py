"""A stub of the one Kubernetes call that the `kubernetes` auth method makes. It isn't Kubernetes.

OpenBao's side is real: it takes the service account's token, asks `TokenReview` over https and
decides by its role. The cluster's side is this stub, which checks signature, expiry and audience
of tokens that it signed itself.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ._tls import Tls

REVIEW_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
AUDIENCE = "https://kubernetes.default.svc.cluster.local"


class Signer:
    """Signs and checks JWTs (RS256)."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def public_pem(self) -> str:
        """The public key, as a `jwt` auth method is configured with."""
        return (
            self._key.public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )

    def sign(self, claims: dict[str, Any]) -> str:
        """Make a token."""
        head = _encode(json.dumps({"alg": "RS256", "typ": "JWT"}).encode())
        text = f"{head}.{_encode(json.dumps(claims).encode())}"
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{text}.{_encode(signature)}"

    def claims(self, token: str) -> dict[str, Any] | None:
        """Give a token's claims; None where the signature is wrong or the time is over."""
        try:
            head, body, signature = token.split(".")
            self._key.public_key().verify(
                _decode(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            claims: dict[str, Any] = json.loads(_decode(body))
        except (ValueError, InvalidSignature):
            return None
        return claims if claims.get("exp", 0) > time.time() else None


class TokenReviewStub:
    """A stub of a Kubernetes API server's TokenReview, over https.

    Attributes:
        url: Where it listens.
        reviews: The service accounts whose tokens it was asked about; None for refused ones.
    """

    def __init__(self, tls: Tls) -> None:
        self.signer = Signer()
        self.reviews: list[str | None] = []
        self.ca_pem = tls.ca_path.read_text()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._server.socket = tls.server_context().wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    def token(
        self,
        account: str = "app",
        namespace: str = "default",
        *,
        seconds: float = 600,
        audience: str = AUDIENCE,
        forged: bool = False,
    ) -> str:
        """Make a service account's token, as a pod finds it under /var/run/secrets."""
        now = time.time()
        claims = {
            "iss": AUDIENCE,
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "aud": [audience],
            "iat": int(now),
            "nbf": int(now) - 1,
            "exp": int(now + seconds),
            # Each is another token, as those that a kubelet replaces are.
            "jti": str(time.monotonic_ns()),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": account, "uid": f"uid-{namespace}-{account}"},
            },
        }
        return (Signer() if forged else self.signer).sign(claims)

    def review(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Decide about a token, as a cluster does."""
        claims = self.signer.claims(str(spec.get("token")))
        wanted = spec.get("audiences") or [AUDIENCE]
        if claims is None or not set(wanted) & set(claims["aud"]):
            self.reviews.append(None)
            return {"authenticated": False, "error": "invalid bearer token"}
        account = claims["kubernetes.io"]["serviceaccount"]
        self.reviews.append(account["name"])
        user = {
            "username": claims["sub"],
            "uid": account["uid"],
            "groups": ["system:authenticated"],
        }
        return {"authenticated": True, "user": user, "audiences": wanted}

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(stub: TokenReviewStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "keyhinge-test-stub"
        timeout = 10

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
            status = 201 if self.path == REVIEW_PATH else 404
            answer = {
                "kind": "TokenReview",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": {"annotations": {"stub": "this is a stub of the tests, no cluster"}},
                "status": stub.review(body.get("spec") or {}) if status == 201 else {},
            }
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Print nothing."""

    return Handler


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
