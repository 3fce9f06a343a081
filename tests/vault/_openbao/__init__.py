"""Real OpenBao servers for the tests of keyhinge-vault, and what tests do to them."""

from __future__ import annotations

from ._helpers import Bao as Bao
from ._kubernetes import TokenReviewStub as TokenReviewStub
from ._relay import Relay as Relay
from ._relay import Seen as Seen
from ._server import ApiError as ApiError
from ._tls import Tls as Tls
