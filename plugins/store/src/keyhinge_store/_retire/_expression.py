"""Conditions of triggers, compared by what they mean: a database writes them in its own way.

PostgreSQL gives a condition back with parentheses and casts of its own, SQLite with names quoted
anew once a column was renamed. Whatever isn't understood is different from everything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["ParseError", "Token", "parse", "tokens"]

Token = tuple[str, str]
"""What it is ("text", "bytes", "name", "word", "number", "sign"), and how it is written."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>E'(?:[^'\\]|''|\\.)*'|X?'(?:[^']|'')*')
      | (?P<name>"(?:[^"]|"")*")
      | (?P<word>[^\W\d]\w*)
      | (?P<number>\d+)
      | (?P<sign>::|\|\||<>|!=|<=|>=|[-+*=<>(),.;\[\]])
    )""",
    re.VERBOSE | re.DOTALL,
)
# Casts that change nothing of what our conditions compare: texts and bytes of any length.
_IDLE = {"text", "text[]", "bytea"}
_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"=", "<>", "<", ">", "<=", ">="}),
    frozenset({"||"}),
    frozenset({"+", "-"}),
    frozenset({"*"}),
)


class ParseError(Exception):
    """It isn't a condition as ours are."""


def tokens(text: str) -> list[Token]:
    """Divide SQL into its parts. Words are in lower case, names without their quotes.

    Raises:
        ParseError: There is something that our statements don't have.
    """
    found: list[Token] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        part = _TOKEN.match(text, at)
        if part is None or part.lastgroup is None:
            raise ParseError
        kind, written = part.lastgroup, part[part.lastgroup]
        if kind == "name":
            written = written[1:-1].replace('""', '"')
        elif kind == "word":
            written = written.lower()
        elif written.startswith("X'"):
            kind = "bytes"
        elif kind == "text":
            written = _unescaped(written)
        found.append((kind, "<>" if written == "!=" else written))
        at = part.end()
    return found


def _unescaped(text: str) -> str:
    """Give what a text is, however it is written: PostgreSQL chooses by a setting."""
    if text.startswith("E"):
        text = text[1:].replace("\\\\", "\\")
    return text[1:-1].replace("''", "'")


def parse(found: Sequence[Token]) -> Any:
    """Make nested tuples of a condition, which are equal for equal conditions.

    Raises:
        ParseError: It has something that our conditions don't have.
    """
    parser = _Parser(found)
    made = parser.either()
    if parser.at < len(found):
        raise ParseError
    return made


class _Parser:
    def __init__(self, found: Sequence[Token]) -> None:
        self._found = found
        self.at = 0

    def _next_is(self, *texts: str) -> bool:
        """Tell whether these words or signs come next."""
        part = self._found[self.at : self.at + len(texts)]
        return [text for kind, text in part if kind in ("word", "sign")] == list(texts)

    def _take(self, *texts: str) -> bool:
        """Go past these words or signs, if they come next."""
        if not self._next_is(*texts):
            return False
        self.at += len(texts)
        return True

    def _must(self, *texts: str) -> None:
        if not self._take(*texts):
            raise ParseError

    def _any(self) -> Token:
        if self.at >= len(self._found):
            raise ParseError
        self.at += 1
        return self._found[self.at - 1]

    def either(self) -> Any:
        return self._joined("or", self._both)

    def _both(self) -> Any:
        return self._joined("and", self._negated)

    def _joined(self, word: str, part: Callable[[], Any]) -> Any:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        flat: list[Any] = []
        for each in parts:
            flat += each[1:] if each[0] == word else [each]
        return flat[0] if len(flat) == 1 else (word, *flat)

    def _negated(self) -> Any:
        return ("not", self._negated()) if self._take("not") else self._tested()

    def _tested(self) -> Any:
        made = self._operation(0)
        while self._take("is"):
            negated = self._take("not")
            self._must("null")
            made = ("is not null" if negated else "is null", made)
        return made

    def _operation(self, level: int) -> Any:
        if level == len(_LEVELS):
            return self._postfixed()
        made = self._operation(level + 1)
        while True:
            sign = next((each for each in sorted(_LEVELS[level]) if self._next_is(each)), None)
            if sign is not None:
                self._must(sign)
                if level == 0 and sign == "=" and self._take("any"):
                    made = _one_of(made, self._array())
                else:
                    made = (sign, made, self._operation(level + 1))
            elif level == 0 and self._take("in", "("):
                made = _one_of(made, self._listed(")"))
            else:
                return made

    def _array(self) -> list[Any]:
        """Read what PostgreSQL makes of IN: an array, perhaps with a cast around it."""
        self._must("(")
        deep = 0
        while self._take("("):
            deep += 1
        self._must("array", "[")
        made = self._listed("]")
        for _ in range(deep):
            self._casts(None)
            self._must(")")
        self._casts(None)
        self._must(")")
        return made

    def _listed(self, end: str) -> list[Any]:
        made: list[Any] = []
        if self._take(end):
            return made
        while True:
            made.append(self.either())
            if self._take(end):
                return made
            self._must(",")

    def _postfixed(self) -> Any:
        made = self._primary()
        while True:
            made = self._casts(made)
            if not self._take("collate"):
                return made
            made = ("collate", made, self._any()[1])

    def _casts(self, made: Any) -> Any:
        while self._take("::"):
            made = _cast(made, self._type())
        return made

    def _type(self) -> str:
        kind, text = self._any()
        if kind not in ("word", "name"):
            raise ParseError
        if text == "character" and self._take("varying"):
            text = "character varying"
        if self._take("("):
            text += f"({self._any()[1]})"
            self._must(")")
        return text + ("[]" if self._take("[", "]") else "")

    def _primary(self) -> Any:
        if self._take("("):
            made = self.either()
            self._must(")")
            return made
        kind, text = self._any()
        if kind in ("text", "bytes", "number"):
            return (kind, text)
        if kind == "sign":
            raise ParseError
        if self._take("."):
            return ("column", text, self._any()[1])
        if not self._take("("):
            return ("word", text)
        if text == "cast":
            made = self.either()
            self._must("as")
            made = _cast(made, self._type())
            self._must(")")
            return made
        if text == "position":
            part = self._operation(1)
            self._must("in")
            whole = self.either()
            self._must(")")
            return ("call", text, part, whole)
        return ("call", text, *self._listed(")"))


def _cast(made: Any, kind: str) -> Any:
    literal = made is not None and made[0] == "text" and kind == "character varying"
    return made if kind in _IDLE or literal else ("cast", made, kind)


def _one_of(made: Any, listed: Sequence[Any]) -> Any:
    return ("=", made, listed[0]) if len(listed) == 1 else ("in", made, *listed)
