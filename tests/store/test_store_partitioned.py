"""A store under an envelope whose data keys are each account's own."""

from __future__ import annotations

from keyhinge import KeyManager
from keyhinge_store import NewSecret, migrate, verify


def test_partitioned_by_the_store_s_own_key(store, open_store, configuration) -> None:
    """`account_id` stands in every context of the store's own table."""
    store.put_many([NewSecret(f"acct_{n % 3}", "k", b"old", f"s{n}") for n in range(12)])
    config = configuration("envelope")
    config["keyManagement"]["envelope"] = {"over": "two", "partitionBy": ["account_id"]}
    with KeyManager.open(config) as keys:
        partitioned = open_store(keys)
        assert migrate(partitioned).moved == 12
        partitioned.put(account_id="acct_1", kind="k", value=b"new", secret_id="s")
        assert partitioned.get(account_id="acct_1", secret_id="s") == b"new"
        assert verify(partitioned).opened == 13
        counted = keys._section(None).counters()
    assert counted["wraps"] == 3
