"""Which configuration and database something was found with; nothing secret."""

from __future__ import annotations

from urllib.parse import unquote

import attrs
import sqlalchemy as sa

from keyhinge import ConfigError, KeyManager, ProviderError

__all__ = ["SectionInfo", "database_text", "sections_of"]


@attrs.frozen
class SectionInfo:
    """A section of the configuration.

    Attributes:
        name: Its name.
        provider: Its provider's name.
        aliases: Names that it had before.
        primary: Whether it encrypts new values.
        encrypts: Whether its values are encrypted; None where it can't be used.
    """

    name: str
    provider: str
    aliases: tuple[str, ...]
    primary: bool
    encrypts: bool | None


def sections_of(keys: KeyManager) -> tuple[SectionInfo, ...]:
    """List the sections, in the file's order."""
    blocks = keys.configuration.sections.values()
    return tuple(
        SectionInfo(
            each.name,
            each.type,
            each.aliases,
            each.name == keys.primary,
            _encrypts(keys, each.name),
        )
        for each in blocks
    )


def database_text(engine: sa.Engine) -> str:
    """Name a database by its URL, without password and query, in which secrets may stand."""
    url = engine.url.set(password=None, query={})
    file = url.database or ""
    if url.get_backend_name() == "sqlite" and file.startswith("file:"):
        return f"sqlite:///{unquote(file.removeprefix('file:'))}"
    return url.render_as_string(hide_password=True)


def _encrypts(keys: KeyManager, name: str) -> bool | None:
    try:
        return keys.capabilities(name).encrypts
    except (ConfigError, ProviderError):
        return None
