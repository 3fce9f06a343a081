"""What a scalar of the configuration may mean.

A plain scalar that some YAML reader takes for a number, a boolean, null or a date is never taken
as text, and text never as one of them: the operator is asked to write what is meant.
"""

from __future__ import annotations

import re
import sys

from keyhinge.config._nodes import ScalarNode

__all__ = ["as_bool", "as_float", "as_int", "as_text", "is_text"]

# Source: YAML 1.1, https://yaml.org/type/ (null, bool, int, float, timestamp, merge, value), and
# YAML 1.2.2, section 10.3.2 (0o17; exponents without a sign).
_NOT_TEXT = re.compile(
    r"""
      ~ | null | Null | NULL | << | =
    | y | Y | yes | Yes | YES | n | N | no | No | NO
    | true | True | TRUE | false | False | FALSE | on | On | ON | off | Off | OFF
    | [-+]? 0b [01_]+
    | [-+]? 0o [0-7_]+
    | [-+]? 0x [0-9a-fA-F_]+
    | [-+]? [0-9] [0-9_]* (?: : [0-5]? [0-9] )* (?: \. [0-9_]* )?
    | [-+]? (?: [0-9] [0-9_]* )? \. [0-9] [0-9_]* (?: [eE] [-+]? [0-9]+ )?
    | [-+]? [0-9] [0-9_]* \.? [eE] [-+]? [0-9]+
    | [-+]? \. (?: inf | Inf | INF | nan | NaN | NAN )
    | [0-9]{4} - [0-9]{1,2} - [0-9]{1,2} (?: [Tt\ \t] .* )?
    """,
    re.VERBOSE,
)
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,18})?")
_LARGEST_FLOAT = sys.float_info.max
_OTHER_BOOLEANS = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false", "1", "0"})

TEXT_HINT = "must be text: write it in quotes"
BOOL_HINT = "must be true or false"
INT_HINT = "must be a whole number, in decimal digits without leading zeros"
FLOAT_HINT = "must be a number such as 5 or 2.5"


class ScalarError(ValueError):
    """A scalar doesn't mean what is wanted; the message never repeats it."""


def is_text(text: str, *, plain: bool = False) -> bool:
    """Tell whether every reader of YAML would take this for text.

    Args:
        text: The scalar.
        plain: Whether it stands there without quotes.

    Returns:
        False for what YAML takes for something else, and for what isn't encodable as UTF-8.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        return False
    return not plain or (text != "" and _NOT_TEXT.fullmatch(text) is None)


def as_text(node: ScalarNode) -> str:
    """Read text; raises `ScalarError`."""
    if node.form == "text" or (node.form == "plain" and is_text(node.text, plain=True)):
        return node.text
    raise ScalarError(TEXT_HINT)


def as_bool(node: ScalarNode) -> bool:
    """Read `true` or `false`; raises `ScalarError`."""
    if node.form == "native" and isinstance(node.native, bool):
        return node.native
    bare = _bare(node)
    if bare in {"true", "false"}:
        return bare == "true"
    if node.text.lower() in {"true", "false"} and node.form == "text" and not node.whole:
        raise ScalarError(f"{BOOL_HINT}, without quotes")
    if node.text.lower() in _OTHER_BOOLEANS:
        raise ScalarError(f"{BOOL_HINT}, in these letters: yes, no, on, off, 1 and 0 aren't taken")
    raise ScalarError(BOOL_HINT)


def as_int(node: ScalarNode) -> int:
    """Read a whole number; raises `ScalarError`."""
    if node.form == "native" and isinstance(node.native, int) and not isinstance(node.native, bool):
        return node.native
    bare = _bare(node)
    if bare is not None and _INT.fullmatch(bare):
        return int(bare)
    raise ScalarError(_number_hint(node, INT_HINT))


def as_float(node: ScalarNode) -> float:
    """Read a number; raises `ScalarError`."""
    native = node.native
    if node.form == "native" and isinstance(native, int | float) and not isinstance(native, bool):
        if abs(native) <= _LARGEST_FLOAT:
            return float(native)
        raise ScalarError(FLOAT_HINT)
    bare = _bare(node)
    if bare is not None and _FLOAT.fullmatch(bare):
        return float(bare)
    raise ScalarError(_number_hint(node, FLOAT_HINT))


def _bare(node: ScalarNode) -> str | None:
    """Give what was written without quotes, or came whole out of a variable."""
    return node.text if node.form == "plain" or node.whole else None


def _number_hint(node: ScalarNode, hint: str) -> str:
    quoted = node.form == "text" and not node.whole and _FLOAT.fullmatch(node.text)
    return f"{hint}, without quotes" if quoted else hint
