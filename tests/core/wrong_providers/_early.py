"""A provider's module that imports its client library at once; another one does in configure."""

from __future__ import annotations

import xmlrpc.client  # noqa: F401 - it stands for a client library that nobody else imports
from typing import Any

from tests.core.wrong_providers._right import Module, Right, Settings

from keyhinge import hookimpl

keyhinge_api = 1
keyhinge_settings = Settings


@hookimpl
def keyhinge_configure(settings: Any, section: Any) -> Right:
    """Make the right provider."""
    return Right(settings, section)


class WhenConfigured(Module):
    """Imports in its hook."""

    @hookimpl
    def keyhinge_configure(self, settings: Any, section: Any) -> Right:
        """Make the right provider, having imported too much."""
        import xmlrpc.server  # noqa: F401

        return Right(settings, section)


when_configured = WhenConfigured(Right)
