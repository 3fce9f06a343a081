"""10,000 values from a real OpenBao to `envelope` over it, and back: what the server is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyhinge import KeyManager
from keyhinge_store import NewSecret, SecretStore, can_retire, migrate, rewrap, status, verify

COUNT, BATCH = 10_000, 1000
BATCHES = COUNT // BATCH
# For data keys, and for the probes with which each KeyManager finds out what a key is.
HANDFUL = 12
OpenKeys = Callable[[str], KeyManager]


@pytest.fixture(params=[False, True], ids=["ordinary", "derived"])
def section(request: pytest.FixtureRequest, bao_section: Any) -> dict[str, Any]:
    """A section of OpenBao, with the context as associated data or to derive the key."""
    made: dict[str, Any] = bao_section("openbao", derived=request.param)
    return made


@pytest.fixture
def open_keys(section: dict[str, Any]) -> Iterator[OpenKeys]:
    """Opens the configuration as a new process does: `open_keys("envelope")`."""
    opened: list[KeyManager] = []

    def make(primary: str) -> KeyManager:
        blocks = {"openbao": section, "envelope": {"over": "openbao"}}
        opened.append(KeyManager.open({"keyManagement": {"provider": primary, **blocks}}))
        return opened[-1]

    yield make
    for keys in opened:
        keys.close()


def test_a_handful_of_calls(
    postgres_url: str, open_keys: OpenKeys, section: dict[str, Any], bao: Any
) -> None:
    """As many as it takes to open or encrypt what isn't under data keys, and a few more."""
    name = section["keyID"]
    verbs = ("encrypt", "decrypt", "rewrap")
    seen = dict.fromkeys(verbs, 0)

    def asked() -> dict[str, int]:
        """What the server's own log has since the last time."""
        now = {verb: bao.count(f"transit/{verb}/{name}") for verb in verbs}
        new = {verb: now[verb] - seen[verb] for verb in verbs}
        seen.update(now)
        return {verb: number for verb, number in new.items() if number}

    def told(report: Any) -> int:
        assert (report.moved, report.complete) == (COUNT, True)
        assert set(report.calls) == {"openbao"}
        return int(report.calls["openbao"].batches)

    with SecretStore(postgres_url, open_keys("openbao")) as store:
        store.create_tables()
        store.put_many(
            NewSecret(f"acct_{n % 100}", "kind", f"secret {n}", f"s{n}") for n in range(COUNT)
        )
        asked()
        # A batch is several requests; as many it takes to open all.
        assert verify(store, open_keys("openbao"), batch_size=BATCH).opened == COUNT
        to_open = sum(asked().values())
        assert to_open > BATCHES

        into = migrate(store, open_keys("envelope"), batch_size=BATCH)
        assert sum(asked().values()) <= to_open + HANDFUL
        assert told(into) == BATCHES + 3
        [label] = status(store, open_keys("envelope")).labels
        assert (label.section, label.key_id, label.version) == ("envelope", f"openbao/{name}", "1")
        asked()

        bao.api("POST", f"transit/keys/{name}/rotate")
        keys = open_keys("envelope")
        assert told(rewrap(store, keys, batch_size=BATCH)) <= 5
        assert sum(asked().values()) <= HANDFUL
        [label] = status(store, keys).labels
        assert (label.version, label.stale) == ("2", False)
        assert can_retire(store, "openbao", keys=keys, key=name, version="1").grade == "none"
        asked()

        again = rewrap(store, open_keys("envelope"), new_data_keys=True, batch_size=BATCH)
        assert told(again) == 4
        assert sum(asked().values()) <= HANDFUL
        bao.api("POST", f"transit/keys/{name}/config", {"min_decryption_version": 2})
        assert verify(store, open_keys("envelope")).opened == COUNT
        assert sum(asked().values()) <= HANDFUL

        back = migrate(store, open_keys("openbao"), batch_size=BATCH)
        assert told(back) == 2 * BATCHES + 1
        found = store.get_many((f"acct_{n % 100}", f"s{n}") for n in range(0, COUNT, 97))
        assert all(out.value == f"secret {key[1][1:]}".encode() for key, out in found.items())
