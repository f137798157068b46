"""A destination's policies: only the actions that are used, and a customer's text never means more than itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from service.outputs.destinations import read_target
from service.outputs.keys import check_path, clean_path
from service.outputs.policy import PLACEHOLDER, escape, make_policy
from service.outputs.terraform import quote
from tests.aws import Moto
from tests.outputs.destination_rows import ACCESS_KEY, AMBIENT, EXTERNAL_ID, KEYRING, row
from tests.outputs.test_destinations import JOB, job

US = "arn:aws:iam::999999999999:role/genrelay"
KEY_ARN = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
USUAL = {
    "s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListBucketMultipartUploads",
}  # fmt: skip

plain = st.characters(max_codepoint=0xFF, exclude_categories=["Cc"])
paths = st.text(st.one_of(st.sampled_from("ab/*?${}%\"'\\~"), plain), max_size=12)


def policy(**changes: Any) -> dict[str, Any]:
    """Return the policies of a destination."""
    return make_policy(row(**changes), US)


def statement(document: dict[str, Any], action: str) -> dict[str, Any]:
    """Return the one statement about an action."""
    [found] = [one for one in document["permission_policy"]["Statement"] if action in one["Action"]]
    return found  # type: ignore[no-any-return]


def actions(document: dict[str, Any]) -> set[str]:
    """Return all actions that are allowed."""
    return {action for one in document["permission_policy"]["Statement"] for action in one["Action"]}


def allows(pattern: str, resource: str) -> bool:
    """Tell whether a policy's resource means this one, as IAM reads it: wildcards, and variables that stand for them."""
    parts = re.findall(r"\$\{([*?$])\}|(\$\{)|([*?])|(.)", pattern, re.DOTALL)
    # Any other variable is of the request; here there is none.
    if any(variable for _, variable, _, _ in parts):
        return False
    expression = "".join(
        re.escape(special) if special else {"*": ".*", "?": "."}[wild] if wild else re.escape(plain)
        for special, _, wild, plain in parts
    )
    return re.fullmatch(expression, resource, re.DOTALL) is not None


def documents_of(terraform: str) -> list[Any]:
    """Return the policies in a Terraform configuration, as Terraform reads them."""
    return [evaluate(json.loads(text)) for text in re.findall(r"jsonencode\((\{.*?\n  \})\)", terraform, re.DOTALL)]


def evaluate(value: Any) -> Any:
    """Return a value as Terraform's templates make it; fails when there is something to be filled in."""
    match value:
        case str():
            assert not re.search(r"(?<!\$)\$\{|(?<!%)%\{", value), value
            return re.sub(r"\$(\$+\{)|%(%+\{)", lambda found: found[1] or found[2], value)
        case dict():
            return {name: evaluate(part) for name, part in value.items()}
        case list():
            return [evaluate(part) for part in value]
    return value


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({}, set()),
        ({"auth": ACCESS_KEY}, set()),
        ({"auth": AMBIENT}, set()),
        ({"tags": {"team": "renders"}}, {"s3:PutObjectTagging", "s3:GetObjectTagging"}),
        ({"acl": "private"}, {"s3:PutObjectAcl"}),
        ({"encryption": {"type": "AES256"}}, set()),
        ({"encryption": {"type": "aws:kms"}}, set()),
        ({"encryption": {"type": "aws:kms", "key_id": KEY_ARN}}, {"kms:GenerateDataKey", "kms:Decrypt"}),
        (
            {"storage_class": "STANDARD_IA", "expected_bucket_owner": "123456789012", "manifest": True},
            set(),
        ),
    ],
)
def test_only_the_actions_that_this_destination_uses_are_asked_for(changes: dict[str, Any], more: set[str]) -> None:
    made = policy(**changes)
    assert actions(made) == USUAL | more
    assert {one["Effect"] for one in made["permission_policy"]["Statement"]} == {"Allow"}


def test_objects_are_deleted_and_their_tags_read_only_where_probes_lie() -> None:
    found = statement(policy(tags={"team": "renders"}), "s3:DeleteObject")
    assert set(found["Action"]) == {"s3:DeleteObject", "s3:GetObjectTagging"}
    pattern = found["Resource"]
    assert allows(pattern, "arn:aws:s3:::acme-renders/renders/genrelay-probe-0123")
    target = read_target(KEYRING, row(), None, [])
    for key in (target.key_for(job(), 0, "png"), target.manifest_key(JOB)):
        assert not allows(pattern, f"arn:aws:s3:::acme-renders/{key}")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"path": ""},
        {"path": "a/b c/*$"},
        {"path": "日本/renders"},
        {"save_to_path_directly": True},
        {"key_template": "{date}/{provider}/{job_id}/{index}.{ext}"},
        {"path": "", "key_template": "{index}/{job_id}"},
    ],
)
def test_every_key_that_is_written_is_covered(changes: dict[str, Any]) -> None:
    target, made = read_target(KEYRING, row(**changes), None, []), policy(**changes)
    pattern = statement(made, "s3:PutObject")["Resource"]
    for key in (target.key_for(job(), 12, "jpeg"), target.manifest_key(JOB)):
        assert allows(pattern, f"arn:aws:s3:::acme-renders/{key}")
    assert not allows(pattern, "arn:aws:s3:::acme-renders-of-others/renders/x")


@given(paths, paths)
@example("a/${aws:username}", "a/b")
@example("$", "${$}")
@example("a*?", "abc")
def test_a_path_in_a_policy_means_itself_and_nothing_else(path: str, other: str) -> None:
    assume(check_path(path) is None)
    assume(check_path(other) is None)
    mine, others = clean_path(path), clean_path(other)
    pattern = statement(policy(path=path), "s3:PutObject")["Resource"]
    assert allows(pattern, "/".join(filter(None, ("arn:aws:s3:::acme-renders", mine, "x.png"))))
    if not f"{others}/".startswith(f"{mine}/" if mine else ""):
        assert not allows(pattern, f"arn:aws:s3:::acme-renders/{others}/x.png")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_an_escaped_text_can_stand_in_a_policy_and_matches_what_it_came_from(text: str) -> None:
    assume(not re.search(r"[\x00-\x1f]", text))
    escaped = escape(text)
    assert allows(escaped, text)
    assert re.fullmatch(r"[\x20-\xff]*", escaped)
    if re.fullmatch(r"[\x20-\xff]*", text):
        assert not allows(escaped, text + "x")
        assert not allows(escaped, "x" + text)


@example("${x}/$${y}/%{if}/%%{z}", "a.b")
@example('quo"te\\', "9")
@given(paths, st.text("ab.-_9", min_size=1, max_size=10).filter(lambda name: name[0] in "ab9"))
def test_terraform_says_the_same_as_the_policies_whatever_the_path_holds(path: str, name: str) -> None:
    assume(check_path(path) is None)
    made = make_policy({**row(path=path), "name": name}, US)
    assert documents_of(made["terraform"]) == [made["trust_policy"], made["permission_policy"]]
    labels = re.findall(r'^(?:# )?resource "(\w+)" "([A-Za-z_][A-Za-z0-9_-]*)" \{$', made["terraform"], re.MULTILINE)
    assert [kind for kind, _ in labels] == [
        "aws_iam_role",
        "aws_iam_role_policy",
        "aws_s3_bucket_lifecycle_configuration",
    ]
    assert f"role = aws_iam_role.{labels[0][1]}.id" in made["terraform"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example('${x} $${x} %{x} %%{x} "\n\\')
def test_a_quoted_text_is_that_text_to_terraform(text: str) -> None:
    quoted = quote(text)
    assert "\n" not in quoted
    assert evaluate(json.loads(quoted)) == text


def test_terraform_makes_the_role_that_the_destination_names() -> None:
    arn = "arn:aws:iam::123456789012:role/a/b/name+x"
    terraform = policy(auth={"type": "assume_role", "role_arn": arn})["terraform"]
    assert '  name = "name+x"\n  path = "/a/b/"\n' in terraform


@pytest.mark.parametrize("auth", [ACCESS_KEY, AMBIENT])
def test_without_a_role_there_is_a_policy_to_attach_and_nobody_to_trust(auth: dict[str, str]) -> None:
    made = policy(auth=auth)
    assert made["trust_policy"] is None
    assert made["external_id"] is None
    assert documents_of(made["terraform"]) == [made["permission_policy"]]
    assert 'resource "aws_iam_policy"' in made["terraform"]
    assert "aws_iam_role" not in made["terraform"]
    assert "a-secret-access-key" not in json.dumps(made)


def test_the_trust_policy_lets_us_in_for_this_account_only() -> None:
    made = policy()
    assert made["principal"] == US
    assert made["external_id"] == EXTERNAL_ID
    [trust] = made["trust_policy"]["Statement"]
    assert trust["Principal"] == {"AWS": US}
    assert trust["Action"] == "sts:AssumeRole"
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}


def test_a_principal_that_nobody_knows_is_a_gap_that_shows() -> None:
    made = make_policy(row(), None)
    assert made["principal"] is None
    assert made["trust_policy"]["Statement"][0]["Principal"] == {"AWS": PLACEHOLDER}
    assert PLACEHOLDER in made["terraform"]
    assert any("GENRELAY_AWS_PRINCIPAL" in note for note in made["notes"])
    assert not any("GENRELAY_AWS_PRINCIPAL" in note for note in policy()["notes"])


@pytest.mark.parametrize(
    ("auth", "region", "partition"),
    [
        ("arn:aws-cn:iam::123456789012:role/x", "cn-north-1", "aws-cn"),
        ("arn:aws-us-gov:iam::123456789012:role/x", "us-gov-west-1", "aws-us-gov"),
        (None, "cn-northwest-1", "aws-cn"),
        (None, "us-gov-east-1", "aws-us-gov"),
        (None, "us-isob-east-1", "aws-iso-b"),
        (None, "eu-central-1", "aws"),
        (None, "ca-central-1", "aws"),
    ],
)
def test_buckets_are_named_as_their_part_of_aws_names_them(auth: str | None, region: str, partition: str) -> None:
    credentials = {"type": "assume_role", "role_arn": auth} if auth else ACCESS_KEY
    made = policy(auth=credentials, region=region, encryption={"type": "aws:kms", "key_id": "1234abcd"})
    for one in made["permission_policy"]["Statement"]:
        assert one["Resource"].startswith(f"arn:{partition}:"), one


@pytest.mark.parametrize(
    ("auth", "key", "resource", "condition"),
    [
        (ACCESS_KEY, KEY_ARN, KEY_ARN, None),
        (None, KEY_ARN, KEY_ARN, None),
        (None, "1234abcd", "arn:aws:kms:eu-central-1:123456789012:key/1234abcd", None),
        (ACCESS_KEY, "1234abcd", "arn:aws:kms:eu-central-1:*:key/1234abcd", None),
        (None, "alias/renders", "arn:aws:kms:eu-central-1:123456789012:key/*", "alias/renders"),
        (
            None,
            "arn:aws:kms:us-east-1:210987654321:alias/renders",
            "arn:aws:kms:us-east-1:210987654321:key/*",
            "alias/renders",
        ),
        (ACCESS_KEY, "*", "arn:aws:kms:eu-central-1:*:key/${*}", None),
        (ACCESS_KEY, "arn:aws:kms:eu-central-1:*:key/*", "arn:aws:kms:eu-central-1:${*}:key/${*}", None),
    ],
)
def test_a_kms_key_is_named_as_narrowly_as_it_is_known(
    auth: dict[str, str] | None, key: str, resource: str, condition: str | None
) -> None:
    changes: dict[str, Any] = {"encryption": {"type": "aws:kms", "key_id": key}}
    made = policy(**changes, **({"auth": auth} if auth else {}))
    found = statement(made, "kms:Decrypt")
    assert found["Resource"] == resource
    wanted = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": condition}} if condition else None
    assert found.get("Condition") == wanted
    assert any("full ARN" in note for note in made["notes"]) is (":key/" not in key)


def test_notes_tell_what_policies_cannot() -> None:
    for changes, said in (
        ({"auth": ACCESS_KEY}, "AKIAEXAMPLE"),
        ({"auth": AMBIENT}, "another AWS account"),
        ({"expected_bucket_owner": "210987654321"}, "belong to 210987654321"),
        ({"encryption": {"type": "aws:kms"}}, "aws/s3"),
        ({"endpoint_url": "https://s3.example.com"}, "not Amazon's"),
        ({"path": "日本"}, "U+00FF"),
        ({"path": ""}, "whole bucket"),
        ({}, "custom_storage"),
    ):
        assert any(said in note for note in policy(**changes)["notes"]), said
    assert not any("belong to" in note for note in policy(expected_bucket_owner="123456789012")["notes"])


@pytest.mark.parametrize("path", ["renders", "a*b?c${aws:username}", 'quo"te', "日本"])
def test_iam_takes_the_policies_as_they_are(moto: Moto, path: str) -> None:
    made = policy(path=path, tags={"a": "b"}, acl="private", encryption={"type": "aws:kms", "key_id": "alias/renders"})
    iam, name = moto.client("iam"), f"policy-{abs(hash(path))}"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(made["trust_policy"]))
    document = json.dumps(made["permission_policy"], ensure_ascii=False)
    iam.put_role_policy(RoleName=name, PolicyName="genrelay", PolicyDocument=document)
    assert iam.get_role_policy(RoleName=name, PolicyName="genrelay")["PolicyDocument"] == made["permission_policy"]
