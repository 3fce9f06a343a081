"""IAM policies for the strict KMS server: moto keeps users and policies, and this evaluates them.

moto's own evaluation leaves out resources and conditions, and knows no kms:ReEncryptFrom. Here is
what policies for KMS need of the language, and whatever else a policy says is an error rather than
a guess:

- Effect, Action (with wildcards), Resource (with wildcards);
- the conditions StringEquals and StringLike, also with ForAllValues: and ForAnyValue:, and Null;
- the condition keys kms:EncryptionContext:NAME, kms:EncryptionContextKeys and kms:RequestAlias.

The key's own policy is taken to be AWS's default, which leaves everything to IAM.

Source: IAM User Guide, "Policy evaluation logic", "IAM JSON policy elements: Condition operators",
"Conditions with multiple context keys or values"; AWS KMS Developer Guide, "Condition keys".
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping
from typing import Any

from moto.iam.access_control import CreateAccessKeyFailure, IAMUserAccessKey
from moto.iam.models import Policy
from moto.kms.exceptions import AccessDeniedException
from moto.kms.models import Key

_ELEMENTS = {"Sid", "Effect", "Action", "Resource", "Condition"}
_CONTEXT = "kms:encryptioncontext:"
Values = Mapping[str, list[str]]


def check(response: Any, action: str, key: Key, context: Mapping[str, str] | None) -> None:
    """See to it that who sent a request may do this.

    Args:
        response: moto's object for the request.
        action: As in `kms:Encrypt`.
        key: The key.
        context: The encryption context; None for an action that has none.

    Raises:
        AccessDeniedException: No policy of the user allows it, or one denies it.
    """
    policies = _policies_of(response)
    if policies is None:
        return
    named = str(response._get_param("KeyId") or "")
    alias = named[named.index("alias/") :] if "alias/" in named else None
    if not allows(policies, action, key.arn, condition_values(context, alias)):
        raise AccessDeniedException("")


def condition_values(context: Mapping[str, str] | None, alias: str | None = None) -> Values:
    """Give the condition keys of a request with their values; names in small letters."""
    found: dict[str, list[str]] = {}
    for name, value in (context or {}).items():
        found[_CONTEXT + name.lower()] = [value]
    if context:
        found["kms:encryptioncontextkeys"] = list(context)
    if alias is not None:
        found["kms:requestalias"] = [alias]
    return found


def allows(policies: list[dict[str, Any]], action: str, resource: str, values: Values) -> bool:
    """Evaluate policies: what nothing allows, or anything denies, isn't allowed."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in _list(policy["Statement"])
        if _applies(statement, action, resource, values)
    }
    return effects == {"Allow"}


def _applies(statement: dict[str, Any], action: str, resource: str, values: Values) -> bool:
    if unknown := set(statement) - _ELEMENTS:
        msg = f"not known here: {unknown}"
        raise NotImplementedError(msg)
    return (
        any(_like(action.lower(), pattern.lower()) for pattern in _list(statement["Action"]))
        and any(_like(resource, pattern) for pattern in _list(statement["Resource"]))
        and all(_holds(*condition, values) for condition in _conditions(statement))
    )


def _conditions(statement: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for operator, block in statement.get("Condition", {}).items():
        for name, wanted in block.items():
            yield operator, name, [str(value) for value in _list(wanted)]


def _holds(operator: str, name: str, wanted: list[str], values: Values) -> bool:
    lower = name.lower()
    if not lower.startswith((_CONTEXT, "kms:encryptioncontextkeys", "kms:requestalias")):
        msg = f"not known here: {name}"
        raise NotImplementedError(msg)
    given = values.get(lower, [])
    if operator == "Null":
        return wanted == [str(not given).lower()]
    quantifier, _, plain = operator.rpartition(":")
    compare = {"StringEquals": str.__eq__, "StringLike": _like}[plain]
    matched = [any(compare(value, each) for each in wanted) for value in given]
    if quantifier == "ForAllValues":
        return all(matched)  # also where there is none: hence the warning in AWS's guide
    return any(matched)


def _like(text: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _policies_of(response: Any) -> list[dict[str, Any]] | None:
    """Give the policies of the user who sent a request; None for the administrator."""
    signed = response.headers.get("Authorization", "")
    access_key = signed.partition("Credential=")[2].partition("/")[0]
    try:
        user = IAMUserAccessKey(response.current_account, "aws", access_key, {})
    except CreateAccessKeyFailure:
        return None
    return [_document(policy) for policy in user.collect_policies()]


def _document(policy: Any) -> dict[str, Any]:
    if isinstance(policy, Policy):
        version = next(v for v in policy.versions if v.version_id == policy.default_version_id)
        text: Any = version.document
    else:
        text = policy["policy_document"]
    parsed: dict[str, Any] = json.loads(text)
    return parsed
