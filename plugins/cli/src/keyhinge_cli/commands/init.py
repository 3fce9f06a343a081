"""`keyhinge init`: a first configuration, its key file and its database."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import click

from keyhinge_cli._exit import FAILED, USAGE, CliError
from keyhinge_cli._options import Command, Invocation, pass_invocation
from keyhinge_cli._plugins import is_installed, keyfile, plugin
from keyhinge_cli._session import quiet_logging

KEY_FILE = "keyhinge.key"
DATABASE = "secrets.db"

# No secret stands in it, so it may be readable by all.
_CONFIG_MODE = 0o644

CONFIG = f"""\
# How this application's secrets are encrypted, and where they are stored.
# All keys that may stand here: keyhinge config schema. What is in force: keyhinge config show

keyManagement:
  # The section that encrypts. Every section of this file decrypts what it has encrypted.
  provider: local

  options:
    # Refuse to start if that section doesn't encrypt.
    requireEncryption: true

  # A key in a file: for one machine, and for trying Keyhinge out. For a key service, install its
  # provider, add a section such as `vault:`, name it above, and run `keyhinge migrate`.
  local:
    # Relative paths start at this file's folder. The key file must never be in the same backup,
    # or the same repository, as the database.
    keyFile: {KEY_FILE}

store:
  # As SQLAlchemy writes it. With PostgreSQL: postgresql+psycopg://user@host/database
  # (and its password in the file that `urlFile` names instead, or in ${{NAME}}).
  # A relative SQLite path, after three slashes, starts at this file's folder too.
  url: @URL@
"""

_BACKUP = """\
Back both up now, apart from each other: without the key file nothing in the database can be read,
and whoever has both can read everything.
  key:       {key}  (to a password manager or an offline medium, never into the repository)
  database:  {database}  (with your ordinary backups)"""


@click.command("init", cls=Command, short_help="Write a first configuration and its key file.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write to; the configuration file's, or the current one, if missing.",
)
@pass_invocation
def init(invocation: Invocation, directory: Path | None) -> None:
    """Write a first configuration, make its key file and its SQLite database.

    With --database of a PostgreSQL server, that URL is written instead, and the table is made
    there. Nothing that is there already is overwritten: then nothing is written at all.
    """
    url = _server_url(invocation)
    config = _target(invocation, directory)
    key, file = config.with_name(KEY_FILE), config.with_name(DATABASE)
    _refuse_existing(*((config, key) if url else (config, key, file)))
    keyfile().init(key)
    _write_config(config, key, url or f"sqlite:///{DATABASE}")
    made = is_installed("store") and _make_database(invocation, config)
    _report(invocation, config, key, url or file, made=made)


def _server_url(invocation: Invocation) -> str:
    """Give the URL of --database, if it may stand in a file that everybody can read."""
    if not invocation.database:
        return ""
    url = plugin("store", "._database").parse_url(invocation.database)
    if url.get_backend_name() == "sqlite":
        raise click.UsageError(
            "init makes an SQLite database itself; --database is for a server, "
            "as in postgresql+psycopg://user@host/database"
        )
    if url.password or "password" in url.query:
        raise click.UsageError(
            "the configuration is readable by all, so no password is written into it. Leave it "
            "out here; then put the whole URL into a file that `store.urlFile` names, or use "
            "PostgreSQL's own ~/.pgpass"
        )
    return str(url.render_as_string(hide_password=False))


def _target(invocation: Invocation, directory: Path | None) -> Path:
    named = invocation.config or os.environ.get("KEYHINGE_CONFIG")
    if directory is None:
        target = Path(named or "config.yaml")
    elif invocation.config:
        raise click.UsageError("give --directory or --config, not both")
    else:
        target = directory / "config.yaml"
        if named:
            invocation.out.warn(
                f"KEYHINGE_CONFIG names another file, {named}: the other commands use that one",
                code="cli.other-config",
            )
    if not target.parent.is_dir():
        raise CliError(f"the folder {target.parent} doesn't exist; make it first", USAGE)
    return target


def _refuse_existing(*paths: Path) -> None:
    there = [str(path) for path in paths if os.path.lexists(path)]
    if there:
        names = " and ".join(there)
        raise CliError(
            f"nothing was written, since {names} exist{'s' if len(there) == 1 else ''} already "
            "and init never overwrites. Choose another folder with --directory, or move it away "
            "(never delete a key file that has ever encrypted something)",
            USAGE,
        )


def _write_config(config: Path, key: Path, url: str) -> None:
    # A JSON string is a YAML string, whatever stands in the URL.
    plain = re.fullmatch(
        r"[A-Za-z][A-Za-z0-9+]*://[A-Za-z0-9@._/-]*(:[0-9]+)?[A-Za-z0-9._/-]*", url
    )
    text = CONFIG.replace("@URL@", url if plain else json.dumps(url.replace("${", "$${")))
    try:
        descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _CONFIG_MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return
    except OSError as error:
        reason = os.strerror(error.errno or 0)
    key.unlink()  # made a moment ago, and nothing was encrypted with it
    raise CliError(f"nothing was written, since {config} can't be: {reason}", FAILED)


def _make_database(invocation: Invocation, config: Path) -> bool:
    from keyhinge import KeyhingeError, KeyManager

    quiet_logging()
    try:
        # Without the environment: KEYHINGE_DATABASE may name another one.
        with KeyManager.open(config) as keys, plugin("store").open_store(keys, environ={}) as store:
            store.create_tables()
        return True
    except KeyhingeError as error:
        reason = str(error)
    invocation.out.warn(f"the database couldn't be made: {reason}", code="cli.no-database")
    return False


def _report(
    invocation: Invocation, config: Path, key: Path, database: Path | str, *, made: bool
) -> None:
    out = invocation.out
    out.event("init", config=config, key_file=key, database=database if made else None)
    out.line(f"configuration  {config}")
    out.line(f"key file       {key}  (mode 0600)")
    if made:
        out.line(f"database       {database}")
    out.note("\n" + _BACKUP.format(key=key, database=database))
    option = "" if config == Path("config.yaml") else f" --config {config}"
    steps = [f"keyhinge check{option}"]
    if not made:
        if not is_installed("store"):
            steps.append('pip install "keyhinge[store]"')
        steps.append(f"keyhinge store init{option}")
    steps.append(f"keyhinge secrets put{option} --account acct_1 --kind api-token")
    out.note("\nNext:" + "".join(f"\n  {step}" for step in steps))
