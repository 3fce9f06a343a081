"""Settings of an `aws` section."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from keyhinge import InvalidSettings, Secret, secret, setting, settings
from keyhinge_aws._target import BadKeyError, parse_key_arn, parse_target, region_problem

_ROLE = "arn:aws:iam::111122223333:role/keyhinge"
_KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/0987dcba-09fe-87dc-65ba-ab0987654321"


@settings
class AwsSettings:
    """Settings of an `aws` section.

    Without `accessKey` and `secretKey`, credentials come from where boto3 finds them: environment,
    profile, web identity, container, instance.
    """

    key_id: str = setting(
        alias="keyID",
        help="The KMS key that encrypts: its id, an alias (`alias/…`), or the ARN of either. It "
        "must be a symmetric key for encryption. What is stored with a value is the key's ARN.",
        example="1234abcd-12ab-34cd-56ef-1234567890ab",
    )
    region: str | None = setting(
        default=None,
        help="The AWS region of the key. An ARN in `keyID` has one itself, which comes first; "
        "without either it is AWS_REGION, AWS_DEFAULT_REGION, or the profile's.",
        example="eu-central-1",
    )
    access_key: Secret | None = secret(
        default=None,
        alias="accessKey",
        help="The access key's id; needs `secretKey`. Without both, credentials come from the "
        "environment, a profile, web identity, the container or the instance.",
        example="${AWS_ACCESS_KEY_ID}",
    )
    secret_key: Secret | None = secret(
        default=None,
        alias="secretKey",
        help="The secret access key; needs `accessKey`.",
        example="${AWS_SECRET_ACCESS_KEY}",
    )
    session_token: Secret | None = secret(
        default=None,
        alias="sessionToken",
        help="The session token of temporary credentials; needs `accessKey` and `secretKey`. It "
        "ends: with the three in files, something else can renew them.",
        example="${AWS_SESSION_TOKEN}",
    )
    endpoint: str | None = setting(
        default=None,
        help="The URL of the KMS endpoint, for an interface endpoint (PrivateLink) or an emulator. "
        "Without it: AWS_ENDPOINT_URL_KMS, AWS_ENDPOINT_URL, or AWS itself.",
        example="http://localhost:4566",
    )
    decrypt_key_ids: tuple[str, ...] = setting(
        default=(),
        alias="decryptKeyIDs",
        help="ARNs of further keys whose values can be decrypted: those that encrypted before "
        "`keyID` was changed, or the alias was pointed elsewhere.",
        example=f"[{_KEY_ARN}]",
    )
    profile: str | None = setting(
        default=None,
        help="A profile of the AWS configuration files. Keys in the environment are then ignored.",
        example="production",
    )
    role_arn: str | None = setting(
        default=None,
        alias="roleARN",
        help="A role to assume, with the credentials found as above; its own are renewed in time.",
        example=_ROLE,
    )
    external_id: str | None = setting(
        default=None,
        alias="externalID",
        help="The external id that the role's trust policy asks for; needs `roleARN`.",
        example="keyhinge-production",
    )
    use_fips: bool = setting(
        default=False,
        alias="useFIPS",
        help="Whether to use AWS's endpoints that are validated after FIPS 140.",
    )
    timeout: float = setting(
        default=5.0,
        minimum=0.1,
        maximum=60,
        help="Seconds to wait for an answer, for each of at most three attempts; connecting may "
        "take as long, but no longer than 5 seconds.",
    )

    def __attrs_post_init__(self) -> None:
        problems: dict[str, str] = {}
        _check_keys(self, problems)
        _check_credentials(self, problems)
        if self.region is not None and (problem := region_problem(self.region)):
            problems["region"] = problem
        if self.endpoint is not None and (problem := endpoint_problem(self.endpoint)):
            problems["endpoint"] = problem
        if self.use_fips and self.endpoint is not None:
            problems["useFIPS"] = (
                "can't stand beside `endpoint`: give the FIPS endpoint's URL there, or neither"
            )
        if problems:
            raise InvalidSettings(problems)


def endpoint_problem(endpoint: str) -> str | None:
    """Say what is wrong with an endpoint's URL, without showing it; None where nothing is."""
    parts = split(endpoint)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return "must be a URL, as in https://kms.example.com"
    if parts.username is not None or parts.password is not None:
        return "can't hold a user name or password"
    if parts.query or parts.fragment:
        return "can't have a part behind '?' or '#'"
    return None


def split(endpoint: str) -> SplitResult | None:
    """Split a URL; None where it isn't one."""
    try:
        parts = urlsplit(endpoint)
        parts.port  # noqa: B018 - raises where the port isn't a number
    except ValueError:
        return None
    return parts if not any(char.isspace() for char in endpoint) else None


def _check_keys(self: AwsSettings, problems: dict[str, str]) -> None:
    try:
        parse_target(self.key_id)
    except BadKeyError as error:
        problems["keyID"] = str(error)
    if any(parse_key_arn(text) is None for text in self.decrypt_key_ids):
        problems["decryptKeyIDs"] = (
            "must be ARNs of keys (arn:aws:kms:REGION:ACCOUNT:key/ID): an alias can be pointed "
            "elsewhere, and an id doesn't say whose it is"
        )


def _check_credentials(self: AwsSettings, problems: dict[str, str]) -> None:
    if (self.access_key is None) != (self.secret_key is None):
        missing = "accessKey" if self.access_key is None else "secretKey"
        other = "secretKey" if self.access_key is None else "accessKey"
        problems[missing] = f"is required beside `{other}`; without both, boto3's own chain is used"
    elif self.session_token is not None and self.access_key is None:
        problems["sessionToken"] = "needs `accessKey` and `secretKey`"
    if self.profile is not None and self.access_key is not None:
        problems["profile"] = "can't stand beside `accessKey`; keep one of the two"
    if self.profile is not None and not self.profile.strip():
        problems["profile"] = "is empty"
    if self.role_arn is not None and not _is_role(self.role_arn):
        problems["roleARN"] = f"must be the ARN of a role, as in {_ROLE}"
    if self.external_id is not None and self.role_arn is None:
        problems["externalID"] = "needs `roleARN`"
    elif self.external_id is not None and not 2 <= len(self.external_id) <= 1224:
        problems["externalID"] = "must have 2 to 1,224 characters"


def _is_role(arn: str) -> bool:
    parts = arn.split(":", 5)
    return (
        len(parts) == 6
        and parts[0] == "arn"
        and parts[1].startswith("aws")
        and parts[2:4] == ["iam", ""]
        and len(parts[4]) == 12
        and parts[4].isdigit()
        and parts[5].startswith("role/")
        and len(parts[5]) > len("role/")
    )
