"""hvac's adapter, with a shorter way from its arguments to the wire.

hvac's own goes through `requests.Session.request`, which reads the environment, keeps cookies and
works out where redirects lead, and takes a good part of a call's time for it.

This module imports hvac and requests; it is imported at the first operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hvac.adapters import RawAdapter
from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

__all__ = ["PreparedAdapter"]


class PreparedAdapter(RawAdapter):
    """Sends what it is given, follows nothing, and leaves the answer's body to be read."""

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        raise_exception: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Send one request.

        Args:
            method: The HTTP method.
            url: The path, quoted, or a whole URL.
            headers: Further headers.
            raise_exception: Not looked at: hvac's exceptions hold what ours mustn't.
            kwargs: `data`, the body as bytes or None, and `timeout` in seconds.

        Returns:
            The response; its body isn't read yet.
        """
        data: bytes | None = kwargs.get("data")
        prepared = PreparedRequest()
        prepared.method = method.upper()
        prepared.url = url if "://" in url else f"{self.base_uri}/{url}"
        prepared.headers = CaseInsensitiveDict(headers or {})
        prepared.headers["X-Vault-Request"] = "true"
        prepared.headers["Accept-Encoding"] = "identity"
        if data is not None or prepared.method in {"POST", "PUT"}:
            prepared.headers["Content-Length"] = str(len(data or b""))
        prepared.body = data
        return self.session.get_adapter(prepared.url).send(
            prepared,
            stream=True,
            timeout=kwargs.get("timeout"),
            verify=True,
            cert=None,
            proxies=self.session.proxies,
        )
