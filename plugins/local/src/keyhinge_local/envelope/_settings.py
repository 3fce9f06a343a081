"""Settings of an `envelope` section."""

from __future__ import annotations

import re

from keyhinge import InvalidSettings, setting, settings
from keyhinge.config import parse_duration

# One of a context's 16 entries is taken: the wrap context has an entry of the library's own.
_MOST_PARTITION_KEYS = 15
_CONTEXT_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
MOST_MESSAGES = 2**32


@settings
class EnvelopeSettings:
    """Settings of an `envelope` section."""

    over: str = setting(
        help="The section that wraps the data keys. It must encrypt and authenticate the context, "
        "and can't be an `envelope` itself.",
        example="vault",
    )
    also_unwrap: list[str] = setting(
        factory=list,
        alias="alsoUnwrap",
        help="Further sections that may open data keys: those that `over` named before.",
        example="[aws]",
    )
    partition_by: list[str] = setting(
        factory=list,
        alias="partitionBy",
        help="Keys of the context whose values each get data keys of their own, such as a "
        "tenant's id. Every context must have them. It can be changed at any time: each value says "
        "what it was made with.",
        example="[account_id]",
    )
    max_messages: int = setting(
        default=2**20,
        alias="maxMessages",
        minimum=1,
        maximum=MOST_MESSAGES,
        help="How many values are encrypted under one data key.",
    )
    max_age: str = setting(
        default="1h",
        alias="maxAge",
        help="How long a data key is used in memory, to encrypt or to decrypt, before the key "
        "service is asked again. So this is the longest time that a revoked key still works.",
        example="15m",
    )
    max_keys: int = setting(
        default=5000,
        alias="maxKeys",
        minimum=1,
        maximum=1_000_000,
        help="How many data keys are kept in memory for decrypting, and as many for encrypting "
        "(one for each partition).",
    )

    @property
    def max_age_seconds(self) -> float:
        """Give `maxAge` in seconds."""
        return parse_duration(self.max_age).total_seconds()

    def __attrs_post_init__(self) -> None:
        problems: dict[str, str] = {}
        try:
            parse_duration(self.max_age)
        except ValueError as problem:
            problems["maxAge"] = str(problem)
        if len({key.lower() for key in self.partition_by}) != len(self.partition_by):
            problems["partitionBy"] = "names a key twice"
        if len(self.partition_by) > _MOST_PARTITION_KEYS:
            problems["partitionBy"] = f"has more than {_MOST_PARTITION_KEYS} keys"
        if not all(map(_is_context_key, self.partition_by)):
            problems["partitionBy"] = "has something that can't be a key of a context"
        if problems:
            raise InvalidSettings(problems)


def _is_context_key(key: str) -> bool:
    return bool(_CONTEXT_KEY.fullmatch(key)) and not key.lower().startswith("keyhinge")
