"""A certificate authority for tests, and the files that servers and clients are given."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

import trustme


class Tls:
    """An authority with a server certificate for 127.0.0.1 and localhost.

    Args:
        folder: Where the files go.
        client_certificates: Whether a server with it demands client certificates.
    """

    def __init__(self, folder: Path, *, client_certificates: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.client_certificates = client_certificates
        self.authority = trustme.CA()
        self.ca_path = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca_path))
        self.server_certificate = folder / "server.pem"
        self.server_key = folder / "server.key"
        self._write(
            self.authority.issue_cert("127.0.0.1", "localhost"),
            self.server_certificate,
            self.server_key,
        )
        # What the tests themselves connect with.
        self.admin = self.client("admin.example")

    def client(
        self, name: str, *, expires: datetime | None = None, other_ca: bool = False
    ) -> tuple[Path, Path]:
        """Make a client certificate; give the paths of certificate and key.

        Args:
            name: Its common name; making it again under the same name replaces the files.
            expires: When it ends; in a long time if not given.
            other_ca: Let an authority sign that nobody knows.
        """
        authority = trustme.CA() if other_ca else self.authority
        issued = authority.issue_cert(name, common_name=name, not_after=expires)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._write(issued, certificate, key)
        return certificate, key

    def settings(self, name: str = "client.example") -> dict[str, str]:
        """Give the configuration's keys for a client with a certificate of its own."""
        certificate, key = self.client(name)
        return {
            "tlsCAPath": str(self.ca_path),
            "tlsCertificatePath": str(certificate),
            "tlsKeyPath": str(key),
        }

    def context(self) -> ssl.SSLContext:
        """Give a client's context for the tests' own connections."""
        context = ssl.create_default_context(cafile=str(self.ca_path))
        context.load_cert_chain(*self.admin)
        return context

    def server_context(self) -> ssl.SSLContext:
        """Give a context for a server that the tests run themselves."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server_certificate, self.server_key)
        return context

    @staticmethod
    def _write(issued: trustme.LeafCert, certificate: Path, key: Path) -> None:
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
