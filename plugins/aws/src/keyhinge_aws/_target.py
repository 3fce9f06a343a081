"""What names a key: ids, aliases and ARNs, and which configured key a stored value is for.

Source: AWS KMS Developer Guide, "Key identifiers (KeyId)" and "Multi-Region keys in AWS KMS".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
# AWS writes the id of a multi-Region key without hyphens; emulators write a UUID behind `mrk-`.
_KEY_ID = re.compile(rf"{_UUID}|mrk-(?:[0-9a-f]{{32}}|{_UUID})")
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]{1,250}")
_REGION = re.compile(r"[a-z]{2,8}(?:-[a-z]{1,16}){1,3}-[0-9]{1,2}")
# aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, aws-eusc …
_ARN = re.compile(
    rf"arn:(?P<partition>aws(?:-[a-z]{{1,12}}){{0,2}}):kms:(?P<region>{_REGION.pattern}):"
    r"(?P<account>[0-9]{12}):(?P<rest>[^:\s]+)"
)


class BadKeyError(ValueError):
    """A text that doesn't name a KMS key; its message says what does, without the text."""


@attrs.frozen
class Target:
    """A key as it was named.

    Attributes:
        text: The name as it was given, and as it is sent.
        name: The key's id, or `alias/…`.
        partition: As in `aws` or `aws-cn`; empty where the name has none.
        region: As in `eu-central-1`; empty where the name has none.
        account: Twelve digits; empty where the name has none.
    """

    text: str
    name: str
    partition: str = ""
    region: str = ""
    account: str = ""

    @property
    def is_alias(self) -> bool:
        """Whether it names an alias, which can be pointed at another key."""
        return self.name.startswith("alias/")

    @property
    def is_arn(self) -> bool:
        """Whether it is a whole ARN."""
        return bool(self.region)

    @property
    def is_multi_region(self) -> bool:
        """Whether the key is a multi-Region key: those of one id share their key material."""
        return self.name.startswith("mrk-")


def parse_target(text: str) -> Target:
    """Parse what a configuration may give as a key.

    Args:
        text: A key's id, an alias (`alias/name`), or the ARN of either.

    Raises:
        BadKeyError: It is none of these.
    """
    found = _ARN.fullmatch(text)
    if found is not None:
        partition, region, account, rest = found.groups()
        kind, _, name = rest.partition("/")
        if kind == "key" and _KEY_ID.fullmatch(name):
            return Target(text, name, partition, region, account)
        if kind == "alias":
            return Target(text, _alias(rest), partition, region, account)
        raise BadKeyError("is an ARN of KMS, but not that of a key or an alias")
    if text.startswith("arn:"):
        raise BadKeyError("isn't the ARN of a KMS key (arn:aws:kms:REGION:ACCOUNT:key/ID)")
    if text.startswith("alias/"):
        return Target(text, _alias(text))
    if _KEY_ID.fullmatch(text):
        return Target(text, text)
    raise BadKeyError(_hint(text))


def parse_key_arn(text: str) -> Target | None:
    """Parse the ARN of a key, as the service answers it and a value is labelled with it."""
    found = _ARN.fullmatch(text)
    if found is None:
        return None
    partition, region, account, rest = found.groups()
    kind, _, name = rest.partition("/")
    if kind != "key" or not _KEY_ID.fullmatch(name):
        return None
    return Target(text, name, partition, region, account)


def is_same_key(one: Target, other: Target) -> bool:
    """Tell whether two ARNs of keys name the same key material.

    That is so where they are equal, and where they are replicas of one multi-Region key: AWS gives
    out the ids of multi-Region keys, and the related keys of one account share theirs, and the key
    material. A single-Region key is never the same as another one.
    """
    if one.text == other.text:
        return True
    return one.is_multi_region and (one.partition, one.account, one.name) == (
        other.partition,
        other.account,
        other.name,
    )


def choose(label: Target, keys: Sequence[Target], region: str) -> Target | None:
    """Find the configured key that a value's label may mean; None where there is none.

    What is sent is always what is returned here, never the label.

    Args:
        label: The ARN that the value names.
        keys: The configured keys, the one that encrypts first.
        region: Where the keys are that don't name a region.
    """
    exact = [key for key in keys if key.text == label.text]
    related = [key for key in keys if key.is_arn and not key.is_alias and is_same_key(key, label)]
    bare = [key for key in keys if not key.is_arn and not key.is_alias and key.name == label.name]
    aliases = [key for key in keys if key.is_alias and key.account in ("", label.account)]
    for key in (*exact, *related, *bare, *aliases):
        if label.is_multi_region or (key.region or region) == label.region:
            return key
    return None


def answers(key: Target, answer: Target, region: str) -> bool:
    """Tell whether an answer can come from a configured key.

    Args:
        key: The key as it was sent.
        answer: The ARN that the service says it used.
        region: The region that was asked.
    """
    if answer.region != region or key.account not in ("", answer.account):
        return False
    return key.is_alias or key.name == answer.name


def region_problem(region: str) -> str | None:
    """Say what is wrong with a region's name; None where it is well-formed."""
    if _REGION.fullmatch(region):
        return None
    likely = re.sub(r"[\s_]+", "-", region.strip().lower())
    likely = re.sub(r"([a-z])([0-9]{1,2})[a-f]?$", r"\1-\2", likely)
    likely = re.sub(r"(-[0-9]{1,2})[a-f]$", r"\1", likely)
    likely = re.sub(r"^([a-z]{2})(north|south|east|west|central)", r"\1-\2", likely)
    if _REGION.fullmatch(likely):
        return f"isn't the name of an AWS region; did you mean {likely}?"
    return "isn't the name of an AWS region, such as eu-central-1"


def _alias(name: str) -> str:
    if not _ALIAS.fullmatch(name):
        raise BadKeyError("isn't an alias: after alias/ come letters, digits, '/', '_' and '-'")
    if name.startswith("alias/aws/"):
        raise BadKeyError(
            "is a key that AWS made for one of its services (alias/aws/…), which can't encrypt "
            "for others; make a key of your own"
        )
    return name


def _hint(text: str) -> str:
    if _KEY_ID.fullmatch(text.lower()):
        return "is a key's id in capital letters; AWS writes it in small ones"
    if _ALIAS.fullmatch(f"alias/{text}"):
        return "isn't a key's id; if it is an alias, write it with alias/ in front"
    return "must be a KMS key's id, an alias (alias/…), or the ARN of either"
