"""`keyhinge secrets`: putting secrets into the store, and getting them out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from keyhinge_cli._exit import FAILED, CliError
from keyhinge_cli._input import read_secret
from keyhinge_cli._options import Group, Invocation, pass_invocation
from keyhinge_cli._session import open_keys, open_store
from keyhinge_cli._text import moment
from keyhinge_cli.commands.crypt import show_plaintext

if TYPE_CHECKING:
    from keyhinge_store import SecretInfo, SecretKey, SecretStore

_PAGE = 1000

_account = click.option("--account", required=True, metavar="ID", help="The account it is of.")
_some_account = click.option("--account", metavar="ID", help="Only this account's.")
_some_kind = click.option("--kind", metavar="NAME", help="Only of this kind.")
_some_id = click.option("--id", "secret_id", metavar="ID", help="The secret's id.")


@click.group("secrets", cls=Group)
def secrets() -> None:
    """Store secrets, read, list and delete them."""


@secrets.command("put")
@_account
@click.option("--kind", required=True, metavar="NAME", help="What it is for.")
@click.option("--id", "secret_id", metavar="ID", help="Its id; one is made if missing.")
@click.option("--raw", is_flag=True, help="Take standard input's bytes as they are.")
@click.option(
    "--allow-plaintext",
    is_flag=True,
    help="Let an unencrypted value replace an encrypted one.",
)
@pass_invocation
def put(
    invocation: Invocation,
    *,
    account: str,
    kind: str,
    secret_id: str | None,
    raw: bool,
    allow_plaintext: bool,
) -> None:
    """Store a secret from standard input, or typed at a hidden prompt, and print its id.

    With --id of a secret that is there already, it is replaced. The newline at the end of a
    single line is dropped; several lines are kept as they are.
    """
    with open_keys(invocation) as keys, open_store(invocation, keys) as store:
        store.run(lambda _: None)  # a missing table is told before somebody types a secret
        made = store.put(
            account_id=account,
            kind=kind,
            secret_id=secret_id,
            value=read_secret(raw=raw),
            allow_downgrade=allow_plaintext,
        )
        section = keys.primary
    invocation.out.line(made)
    invocation.out.event("put", account=account, kind=kind, id=made, section=section)


@secrets.command("get")
@_account
@_some_kind
@_some_id
@pass_invocation
def get(invocation: Invocation, account: str, kind: str | None, secret_id: str | None) -> None:
    """Print a secret as it is.

    It is named by its id, or by its kind if the account has only one of that kind.
    """
    with open_keys(invocation) as keys, open_store(invocation, keys) as store:
        found = _the_one(store, account, kind, secret_id)
        value = store.get(account_id=account, secret_id=found)
    show_plaintext(invocation.out, "secret", value, account=account, id=found)


@secrets.command("list")
@_some_account
@_some_kind
@pass_invocation
def list_(invocation: Invocation, account: str | None, kind: str | None) -> None:
    """List secrets, never their values."""
    columns = ["account", "id", "kind", "section", "version", "encrypted", "updated"]
    empty = True
    with open_keys(invocation) as keys, open_store(invocation, keys) as store:
        for page in _pages(store, account, kind):
            invocation.out.table(columns, [_row(info) for info in page], header=empty)
            empty = False
            for info in page:
                _list_event(invocation, info)
    if empty:
        invocation.out.note("there is no such secret")


@secrets.command("delete")
@_account
@_some_kind
@_some_id
@click.option("--yes", is_flag=True, help="Don't ask.")
@pass_invocation
def delete(
    invocation: Invocation, account: str, kind: str | None, secret_id: str | None, yes: bool
) -> None:
    """Delete a secret; it is named as for `get`."""
    with open_keys(invocation) as keys, open_store(invocation, keys) as store:
        found = _the_one(store, account, kind, secret_id)
        if not yes:
            _confirm(account, found)
        store.delete(account_id=account, secret_id=found)
    invocation.out.event("deleted", account=account, id=found)
    invocation.out.note(f"deleted {found}")


def _the_one(store: SecretStore, account: str, kind: str | None, secret_id: str | None) -> str:
    """Find the id of the secret that is meant."""
    if kind is None:
        if secret_id is None:
            raise click.UsageError("name the secret with --id, or with --kind")
        return secret_id
    ids = [info.secret_id for info in store.find(account_id=account, kind=kind)]
    if secret_id is not None:
        ids = [each for each in ids if each == secret_id]
    if len(ids) == 1:
        return ids[0]
    what = f"the account {account!r} has"
    if not ids:
        named = f" {secret_id!r}" if secret_id is not None else ""
        raise CliError(f"{what} no secret{named} of the kind {kind!r}", FAILED)
    shown = ", ".join(ids[:5]) + (", …" if len(ids) > 5 else "")
    raise CliError(
        f"{what} {len(ids)} secrets of the kind {kind!r}; name one with --id: {shown}", FAILED
    )


def _confirm(account: str, secret_id: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: say --yes to delete it")
    question = f"Delete the secret {secret_id!r} of the account {account!r}?"
    if not click.confirm(question, err=True):
        raise CliError("nothing was deleted", FAILED)


def _pages(store: SecretStore, account: str | None, kind: str | None) -> Iterator[list[SecretInfo]]:
    after: SecretKey | None = None
    while page := store.list(account_id=account, kind=kind, after=after, limit=_PAGE):
        yield page
        after = page[-1].key


def _row(info: SecretInfo) -> list[str]:
    return [
        info.account_id,
        info.secret_id,
        info.kind,
        info.section,
        info.version,
        moment(info.encrypted_at),
        moment(info.updated_at),
    ]


def _list_event(invocation: Invocation, info: SecretInfo) -> None:
    invocation.out.event(
        "secret",
        account=info.account_id,
        id=info.secret_id,
        kind=info.kind,
        section=info.section,
        key_id=info.key_id,
        version=info.version,
        encrypted_at=info.encrypted_at,
        created_at=info.created_at,
        updated_at=info.updated_at,
    )
