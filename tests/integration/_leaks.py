"""Looks for secrets in whatever a run left behind: logs, errors, objects, files."""

from __future__ import annotations

import base64
import gc
import logging
import pickle
import re
import traceback
import urllib.parse
from collections.abc import Iterable, Iterator
from types import FrameType, ModuleType
from typing import Any

# A token that a server has given out, which no test knows beforehand.
TOKEN = re.compile(rb"(?<![\w.])(?:hv)?[sb]\.[A-Za-z0-9_-]{20,}")
_SKIPPED = (type, ModuleType, logging.Logger, logging.Handler)


class Secrets:
    """What must not show, in all forms that it might be written in.

    Args:
        plain: The secrets by name, as text.
    """

    def __init__(self, **plain: str) -> None:
        self.forms: dict[bytes, str] = {}
        for name, text in plain.items():
            raw = text.encode()
            self.forms |= dict.fromkeys(_forms(raw), name)

    def found_in(self, where: str | bytes) -> set[str]:
        """Name the secrets that a text shows, and `token` for a server's."""
        data = where.encode("utf-8", "surrogatepass") if isinstance(where, str) else where
        found = {name for form, name in self.forms.items() if form in data}
        return found | ({"token"} if TOKEN.search(data) else set())

    def found_in_error(self, error: BaseException) -> set[str]:
        """Look through all that an error shows and refers to, our frames' variables included."""
        shown: list[str | bytes] = [str(error), repr(error), repr(vars(error)), pickle.dumps(error)]
        lines = traceback.format_exception(error)
        shown += [line for line in lines if "/tests/" not in line]
        shown += [thing for thing in reachable(error) if isinstance(thing, (str, bytes))]
        return set().union(*map(self.found_in, shown))


def _forms(raw: bytes) -> Iterator[bytes]:
    yield raw
    yield raw.hex().encode()
    yield urllib.parse.quote(raw).encode()
    for shift in range(3):  # wherever it stands in what is encoded
        padded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
        yield padded[4 if shift else 0 : -2]


def reachable(error: BaseException) -> Iterator[object]:
    """Give all that an error refers to; of frames, the variables of ours.

    What the caller gave and holds itself is left out: values, secrets and managers.
    """
    import keyhinge

    ends: tuple[Any, ...] = (
        *_SKIPPED,
        keyhinge.KeyManager,
        keyhinge.EncryptedValue,
        keyhinge.Encrypt,
        keyhinge.Decrypt,
        keyhinge.Secret,
        keyhinge.Provider,
    )
    seen: set[int] = set()
    queue: list[object] = [error, *_frames(error)]
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, ends):
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, FrameType):
            code = thing.f_code.co_filename
            if "keyhinge" in code and "/tests/" not in code:
                queue += thing.f_locals.values()
        elif not callable(thing):
            queue += gc.get_referents(thing)


def _frames(error: BaseException) -> Iterator[FrameType]:
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame
        step = step.tb_next


class Logged(logging.Handler):
    """Keeps everything that is logged, with arguments and extra fields, as text."""

    def __init__(self) -> None:
        super().__init__(level=1)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        text = f"{record.name} {record.getMessage()} {record.__dict__!r}"
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(traceback.format_exception(record.exc_info[1]))
        self.lines.append(text)


def everything_logged(names: Iterable[str] = ()) -> tuple[Logged, dict[str, int]]:
    """Turn every logger there is to its lowest level; give the handler and the former levels."""
    handler = Logged()
    known = ["", *names, *logging.root.manager.loggerDict]
    before = {name: logging.getLogger(name).level for name in known}
    for name in before:
        logging.getLogger(name).setLevel(1)
    logging.getLogger().addHandler(handler)
    return handler, before
