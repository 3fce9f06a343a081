"""A stand-in for AWS's command line, over boto3: what the documentation shows of it, and no more.

``aws SERVICE COMMAND [--name value …] [--query PATH] [--output json|text]`` calls the operation;
``--query`` takes names joined by dots. Names and values are checked against AWS's own description
of the service.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
from botocore import xform_name
from botocore.exceptions import ClientError


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    service, command, *rest = arguments
    options = dict(parse(rest))
    query, output = options.pop("query", None), options.pop("output", "json")
    client = boto3.client(service, region_name=options.pop("region", None))  # type: ignore[call-overload]
    names = {xform_name(name, "-"): name for name in client.meta.service_model.operation_names}
    shape = client.meta.service_model.operation_model(names[command]).input_shape
    members = {xform_name(name, "-"): (name, shape.members[name]) for name in shape.members}
    given: dict[str, Any] = {}
    for option, text in options.items():
        on = not option.startswith("no-")
        name, member = members[option.removeprefix("no-")]
        given[name] = value(member.type_name, text, on)
    try:
        answer = getattr(client, xform_name(names[command]))(**given)
    except ClientError as error:
        told = error.response["Error"]
        print(f"An error occurred ({told['Code']}) when calling {names[command]}", file=sys.stderr)
        return 254
    finally:
        client.close()
    answer.pop("ResponseMetadata", None)
    result: Any = answer
    for name in query.split(".") if query else ():
        result = result[name]
    if output == "text":
        print(result if isinstance(result, str) else "\t".join(map(str, result)))
    elif result:
        print(json.dumps(result, indent=4, default=str))
    return 0


def parse(arguments: list[str]) -> list[tuple[str, str | None]]:
    """Pair options with their values; None for a flag."""
    found: list[tuple[str, str | None]] = []
    for argument in arguments:
        if argument.startswith("--"):
            found.append((argument[2:], None))
        elif found and found[-1][1] is None:
            found[-1] = (found[-1][0], argument)
        else:
            msg = f"{argument!r} belongs to no option"
            raise SystemExit(msg)
    return found


def value(kind: str, text: str | None, on: bool) -> Any:
    """Read an option's value as the service describes it."""
    if kind == "boolean":
        return on
    if text is None:
        raise SystemExit("an option lacks its value")
    if text.startswith("file://"):
        with open(text.removeprefix("file://"), encoding="utf-8") as file:  # noqa: PTH123
            text = file.read()
    if kind in ("integer", "long"):
        return int(text)
    if kind == "map":
        return dict(part.split("=", 1) for part in text.split(","))
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
