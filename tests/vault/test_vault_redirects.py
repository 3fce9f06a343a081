"""A redirect takes token and plaintext along: only where that was allowed.

The relay answers in place of a standby node, which a single server can't be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from keyhinge_vault._endpoint import Origin, origin_of
from keyhinge_vault._errors import ServiceError
from keyhinge_vault._http import Connection
from keyhinge_vault._redirect import REDIRECTS, redirect_target
from keyhinge_vault._server import Server

if TYPE_CHECKING:
    from tests.vault._openbao import Bao, Relay

HTTPS = "https://a.example:8200"
PATH = "transit/encrypt/app"
V1 = f"/v1/{PATH}"


def server(endpoint: str = HTTPS, *others: Origin) -> Server:
    redirects = frozenset([origin_of(endpoint), *others])
    return Server(section="vault", endpoint=endpoint, redirects=redirects)


def target(
    location: str, *others: Origin, endpoint: str = HTTPS, method: str = "POST", status: int = 307
) -> str | None:
    return redirect_target(server(endpoint, *others), method, PATH, status, location)


OTHER = Origin("b.example", 8200)
ANY_PORT = Origin("b.example", None)


class TestRules:
    @pytest.mark.parametrize(
        ("location", "others"),
        [
            (HTTPS + V1, ()),
            ("https://A.EXAMPLE:8200" + V1, ()),
            (V1, ()),
            ("https://b.example:8200" + V1, (OTHER,)),
            ("https://b.example:8200" + V1, (ANY_PORT,)),
            ("https://b.example" + V1, (ANY_PORT,)),
            ("https://b.example" + V1, (Origin("b.example", 443),)),
        ],
    )
    def test_allowed(self, location: str, others: tuple[Origin, ...]):
        found = target(location, *others)
        assert found is not None
        assert found.endswith(V1)
        assert found.startswith("https://")

    @pytest.mark.parametrize(
        "location",
        [
            "",
            "https://b.example:8201" + V1,
            "https://a.example:8201" + V1,
            "https://a.example" + V1,
            "https://evil.example:8200" + V1,
            "https://b.example.evil:8200" + V1,
            "https://evil-b.example:8200" + V1,
            "http://a.example:8200" + V1,
            "http://b.example:8200" + V1,
            "//b.example:8200" + V1,
            "https://b.example:8200@evil.example" + V1,
            "https://user@b.example:8200" + V1,
            "https://b.example:8200\\@evil.example" + V1,
            "https://evil.example\\.b.example:8200" + V1,
            "https://evil.example#@b.example:8200" + V1,
            "https://evil.example?@b.example:8200" + V1,
            " https://b.example:8200" + V1,
            "https://b.example:8200\t" + V1,
            "https://b.ex\nample:8200" + V1,
            "https://b.exampl\u00e9:8200" + V1,
            "ftp://b.example:8200" + V1,
            "javascript:alert(1)//" + V1,
            "https://b.example:8200/v1/transit/encrypt/other",
            "https://b.example:8200/v1/transit/encrypt/x/../app",
            "https://b.example:8200/v1/sys/../transit/encrypt/app",
            "https://b.example:8200/x" + V1,
            "https://b.example:8200/.." + V1,
            "https://b.example:8200" + V1 + "?x=y",
            "https://b.example:8200" + V1 + "#x",
            "https://b.example:8200" + V1 + "/",
            "https://b.example:8200",
            "/v1/transit/encrypt/other",
            "/x" + V1,
            "transit/encrypt/app",
            "https://[b.example" + V1,
            "https://b.example:99999" + V1,
        ],
    )
    def test_refused(self, location: str):
        assert target(location, OTHER) is None

    @pytest.mark.parametrize("status", sorted(REDIRECTS))
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "LIST"])
    def test_methods(self, method: str, status: int):
        """A redirect that would turn it into a GET isn't followed."""
        followed = target(V1, method=method, status=status) is not None
        assert followed is (method == "GET" or status in {307, 308})

    def test_sub_route(self):
        """The other node has the API where the endpoint has it, or at its root."""
        endpoint = "https://a.example/vault"
        for base in ("https://b.example:8200", "https://b.example:8200/vault"):
            assert target(base + V1, OTHER, endpoint=endpoint) == base + V1
        assert target("https://b.example:8200/other" + V1, OTHER, endpoint=endpoint) is None
        assert target("/vault" + V1, endpoint=endpoint) == endpoint + V1

    def test_from_plain_to_tls(self):
        endpoint = "http://127.0.0.1:8200"
        assert target("https://127.0.0.1:8200" + V1, endpoint=endpoint) is not None
        assert target("http://127.0.0.1:8200" + V1, endpoint=endpoint) is not None


Connect = Callable[..., Connection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect to a relay that may redirect to the others."""
    made: list[Connection] = []

    def make(first: Relay, *others: Relay) -> Connection:
        made.append(Connection(server(first.url, *(origin_of(other.url) for other in others))))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


def redirect(to: Relay, status: int = 307) -> Any:
    return lambda seen: (status, {"Location": to.url + seen.path}, b"")


class TestRealRequests:
    def test_followed(self, bao: Bao, relay_to: Callable[[str], Relay], connect: Connect):
        """A standby sends to the active node; token and body arrive as they were."""
        standby, active = relay_to(bao.url), relay_to(bao.url)
        standby.intercept = redirect(active)
        key = bao.key()
        answer = connect(standby, active).request(
            "POST", f"transit/encrypt/{key}", json={"plaintext": "AAAA"}, token=bao.root_token
        )
        assert answer.data["ciphertext"]
        first, second = standby.seen[0], active.seen[0]
        assert (first.method, first.path, first.body) == (second.method, second.path, second.body)
        assert second.headers["x-vault-token"] == bao.root_token

    def test_not_listed(self, bao: Bao, relay_to: Callable[[str], Relay], connect: Connect):
        """Another port of the same machine is another server: nothing is sent to it."""
        standby, stranger = relay_to(bao.url), relay_to(bao.url)
        standby.intercept = redirect(stranger)
        with pytest.raises(ServiceError) as caught:
            connect(standby).request("POST", "x", json={}, token="t")
        assert (caught.value.kind, caught.value.status) == ("redirect", 307)
        assert (len(standby.seen), stranger.seen) == (1, [])

    def test_once(self, bao: Bao, relay_to: Callable[[str], Relay], connect: Connect):
        """Two nodes that send to each other send nobody round and round."""
        one, two = relay_to(bao.url), relay_to(bao.url)
        one.intercept, two.intercept = redirect(two), redirect(one)
        with pytest.raises(ServiceError) as caught:
            connect(one, two).request("POST", "x", json={}, token="t")
        assert caught.value.kind == "redirect"
        assert (len(one.seen), len(two.seen)) == (1, 1)

    @pytest.mark.parametrize("status", [301, 302, 303])
    def test_never_another_method(
        self, bao: Bao, relay_to: Callable[[str], Relay], connect: Connect, status: int
    ):
        one, two = relay_to(bao.url), relay_to(bao.url)
        one.intercept = redirect(two, status)
        with pytest.raises(ServiceError):
            connect(one, two).request("POST", "x", json={}, token="t")
        assert two.seen == []
        assert connect(one, two).request("GET", "sys/health").status == 200

    def test_without_a_location(self, bao: Bao, relay_to: Callable[[str], Relay], connect: Connect):
        relay = relay_to(bao.url)
        relay.intercept = lambda seen: (307, {}, b"")
        with pytest.raises(ServiceError) as caught:
            connect(relay).request("POST", "x", json={}, token="t")
        assert caught.value.kind == "redirect"

    def test_location_is_not_shown(
        self, bao: Bao, relay_to: Callable[[str], Relay], connect: Connect
    ):
        """A server may put the token there."""
        relay = relay_to(bao.url)
        relay.intercept = lambda seen: (307, {"Location": "http://geheim.example/"}, b"geheim")
        with pytest.raises(ServiceError) as caught:
            connect(relay).request("POST", "x", json={}, token="t")
        assert "geheim" not in f"{caught.value!r} {vars(caught.value)}"
