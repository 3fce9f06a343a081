"""What names a key, and which configured key a value's label means."""

from __future__ import annotations

import pytest

from keyhinge_aws._target import (
    BadKeyError,
    answers,
    choose,
    is_same_key,
    parse_key_arn,
    parse_target,
    region_problem,
)

UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER = "0987dcba-09fe-87dc-65ba-ab0987654321"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"
HOME = "us-east-1"


def arn(key=UUID, region=HOME, account="111122223333", partition="aws"):
    return f"arn:{partition}:kms:{region}:{account}:key/{key}"


class TestGrammar:
    """Ids, aliases, ARNs."""

    @pytest.mark.parametrize("text", [UUID, MRK, f"mrk-{UUID}", "alias/app", "alias/team/app_1-x"])
    def test_names_without_a_region(self, text):
        target = parse_target(text)
        assert (target.text, target.name, target.region, target.account) == (text, text, "", "")

    @pytest.mark.parametrize(
        ("partition", "region"),
        [
            ("aws", "eu-central-1"),
            ("aws-cn", "cn-north-1"),
            ("aws-us-gov", "us-gov-west-1"),
            ("aws-iso", "us-iso-east-1"),
            ("aws-iso-b", "us-isob-east-1"),
            ("aws-eusc", "eusc-de-east-1"),
        ],
    )
    def test_arns_of_every_partition(self, partition, region):
        target = parse_target(arn(region=region, partition=partition))
        assert (target.partition, target.region) == (partition, region)
        assert (target.account, target.name) == ("111122223333", UUID)
        alias = parse_target(f"arn:{partition}:kms:{region}:111122223333:alias/app")
        assert alias.is_alias
        assert alias.is_arn

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("", "must be"),
            ("app", "with alias/ in front"),
            (UUID.upper(), "capital letters"),
            ("alias/", "isn't an alias"),
            ("alias/a b", "isn't an alias"),
            ("alias/aws/s3", "made for one of its services"),
            ("arn:aws:s3:::bucket", "isn't the ARN of a KMS key"),
            ("arn:aws:iam::111122223333:role/x", "isn't the ARN of a KMS key"),
            (arn(key="x"), "not that of a key"),
            (arn(account="1"), "isn't the ARN of a KMS key"),
            (arn() + "\n", "isn't the ARN"),
            (arn().replace("key/", "grant/"), "not that of a key"),
            ("../" + UUID, "must be"),
            (UUID + ":1", "must be"),
        ],
    )
    def test_others_are_refused_without_being_shown(self, text, says):
        with pytest.raises(BadKeyError, match=says) as raised:
            parse_target(text)
        assert len(text) < 8 or text not in str(raised.value)

    @pytest.mark.parametrize("text", ["", UUID, "alias/app", arn(key="alias/x"), arn() + " ", "x"])
    def test_labels_are_arns_of_keys_and_nothing_else(self, text):
        assert parse_key_arn(text) is None


class TestRegions:
    """Names of regions."""

    @pytest.mark.parametrize(
        "region",
        ["us-east-1", "ap-southeast-12", "us-gov-east-1", "us-isof-south-1", "mx-central-1"],
    )
    def test_well_formed(self, region):
        assert region_problem(region) is None

    @pytest.mark.parametrize(
        ("region", "likely"),
        [
            ("us-east1", "us-east-1"),
            ("US-EAST-1", "us-east-1"),
            ("us_east_1", "us-east-1"),
            ("useast1", "us-east-1"),
            ("eu-central-1b", "eu-central-1"),
            (" eu-west-2", "eu-west-2"),
        ],
    )
    def test_slips_get_a_suggestion(self, region, likely):
        assert f"did you mean {likely}?" in (region_problem(region) or "")

    @pytest.mark.parametrize("region", ["", "europe", "https://kms", "us-east-1/../x"])
    def test_others_get_none(self, region):
        problem = region_problem(region) or ""
        assert "isn't the name" in problem
        assert "did you mean" not in problem


class TestChoosing:
    """The configured key that a label means."""

    def choose(self, label, *keys, region=HOME):
        parsed = parse_key_arn(label)
        assert parsed is not None
        found = choose(parsed, [parse_target(key) for key in keys], region)
        return found and found.text

    def test_the_same_arn(self):
        assert self.choose(arn(), arn()) == arn()
        assert self.choose(arn(), arn(OTHER), arn()) == arn()

    @pytest.mark.parametrize(
        "label",
        [arn(OTHER), arn(region="eu-west-1"), arn(account="444455556666"), arn(partition="aws-cn")],
    )
    def test_another_arn_is_not_configured(self, label):
        assert self.choose(label, arn()) is None

    def test_an_id_means_its_key_in_the_home_region(self):
        assert self.choose(arn(), UUID) == UUID
        assert self.choose(arn(account="444455556666"), UUID) == UUID  # the answer tells
        assert self.choose(arn(region="eu-west-1"), UUID) is None
        assert self.choose(arn(OTHER), UUID) is None

    def test_an_alias_may_mean_any_key_of_its_account_and_region(self):
        alias = "arn:aws:kms:us-east-1:111122223333:alias/app"
        assert self.choose(arn(), "alias/app") == "alias/app"
        assert self.choose(arn(OTHER), alias) == alias
        assert self.choose(arn(account="444455556666"), alias) is None
        assert self.choose(arn(region="eu-west-1"), "alias/app") is None

    def test_a_listed_arn_comes_before_the_alias(self):
        assert self.choose(arn(), "alias/app", arn()) == arn()

    def test_replicas_of_a_multi_region_key_stand_for_each_other(self):
        here, there = arn(MRK), arn(MRK, region="eu-west-1")
        assert self.choose(there, here) == here
        assert self.choose(there, MRK) == MRK
        assert self.choose(there, here, there) == there  # listed itself: in its own region
        assert self.choose(there, "alias/app") == "alias/app"

    @pytest.mark.parametrize(
        "label",
        [
            arn(MRK, account="444455556666"),
            arn(MRK, partition="aws-cn", region="cn-north-1"),
            arn(MRK[:-1] + "c", region="eu-west-1"),
        ],
    )
    def test_other_multi_region_keys_do_not(self, label):
        assert self.choose(label, arn(MRK)) is None

    def test_a_listed_key_in_another_region_is_asked_there(self):
        there = arn(OTHER, region="eu-west-1")
        assert self.choose(there, arn(), there) == there


def test_same_key_material():
    one, replica = parse_key_arn(arn(MRK)), parse_key_arn(arn(MRK, region="eu-west-1"))
    single, elsewhere = parse_key_arn(arn()), parse_key_arn(arn(region="eu-west-1"))
    assert one is not None
    assert replica is not None
    assert single is not None
    assert elsewhere is not None
    assert is_same_key(one, replica)
    assert not is_same_key(single, elsewhere)


@pytest.mark.parametrize(
    ("key", "answer", "fits"),
    [
        (UUID, arn(), True),
        (UUID, arn(OTHER), False),
        (UUID, arn(region="eu-west-1"), False),
        ("alias/app", arn(OTHER), True),
        ("alias/app", arn(region="eu-west-1"), False),
        (arn(), arn(account="444455556666"), False),
        ("arn:aws:kms:us-east-1:111122223333:alias/app", arn(account="444455556666"), False),
    ],
)
def test_answers_that_a_key_can_give(key, answer, fits):
    parsed = parse_key_arn(answer)
    assert parsed is not None
    assert answers(parse_target(key), parsed, HOME) is fits
