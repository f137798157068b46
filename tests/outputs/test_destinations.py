"""A destination's row, as those read it who write to the bucket and those who show it."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from service.aws.auth import AccessKey, Ambient, AssumedRole
from service.ids import show
from service.jobs.model import Job
from service.outputs.destination_input import shape_of
from service.outputs.destinations import destination_json, read_target
from service.outputs.errors import DestinationDenied
from tests.outputs.destination_rows import ACCESS_KEY, AMBIENT, ASSUME_ROLE, EXTERNAL_ID, KEYRING, ROLE, body, row

STORAGE = {"path": "of/the/body", "save_to_path_directly": True}


def job() -> Job:
    """Return a job of which only what a key can hold is known."""
    known: dict[str, Any] = {
        "id": UUID("019a4c4e-7e00-7000-8000-000000000001"),
        "provider": "novita",
        "operation": "txt2img",
        "created_at": datetime(2026, 11, 1, tzinfo=UTC),
    }
    values: dict[str, Any] = {each.name: known.get(each.name) for each in fields(Job)}
    return Job(**values)


JOB = show("job", job().id)


def test_each_kind_of_credentials_is_read_from_its_row() -> None:
    read = [
        read_target(KEYRING, row(auth=auth), None, ["default"]).spec.auth for auth in (ACCESS_KEY, ASSUME_ROLE, AMBIENT)
    ]
    assert read == [
        AccessKey("AKIAEXAMPLE", "a-secret-access-key"),
        AssumedRole(ROLE, EXTERNAL_ID),
        Ambient(),
    ]


def test_a_role_and_the_services_own_credentials_have_no_secret_to_keep() -> None:
    assert row(auth=ASSUME_ROLE)["secret"] is None
    assert row(auth=AMBIENT)["secret"] is None
    kept = row(auth=ACCESS_KEY)
    assert b"a-secret-access-key" not in kept["secret"]
    assert "a-secret-access-key" not in str(kept["spec"])


@pytest.mark.parametrize("allowed", [[], ["somebody else"], ["Default"], ["default2"]])
def test_an_account_that_is_not_on_the_list_any_more_is_denied_with_what_to_set(allowed: list[str]) -> None:
    with pytest.raises(DestinationDenied) as denied:
        read_target(KEYRING, row(auth=AMBIENT), None, allowed)
    assert "GENRELAY_OUTPUTS__AMBIENT_ACCOUNTS" in denied.value.hint
    assert "'default'" in denied.value.hint


@pytest.mark.parametrize(
    ("changes", "storage", "key", "manifest"),
    [
        ({}, None, f"renders/{JOB}/03.png", f"renders/{JOB}/manifest.json"),
        ({"save_to_path_directly": True}, None, f"renders/{JOB}-03.png", f"renders/{JOB}-manifest.json"),
        ({"path": ""}, None, f"{JOB}/03.png", f"{JOB}/manifest.json"),
        ({"path": "", "save_to_path_directly": True}, None, f"{JOB}-03.png", f"{JOB}-manifest.json"),
        (
            {"key_template": "{date}/{operation}/{job_id}_{index}.{ext}"},
            None,
            f"renders/2026-11-01/txt2img/{JOB}_3.png",
            f"renders/{JOB}/manifest.json",
        ),
        (
            {"key_template": "{job_id}_{index}"},
            STORAGE,
            f"of/the/body/{JOB}-03.png",
            f"of/the/body/{JOB}-manifest.json",
        ),
    ],
)
def test_keys_come_from_the_template_unless_the_body_says_where(
    changes: dict[str, Any], storage: dict[str, Any] | None, key: str, manifest: str
) -> None:
    target = read_target(KEYRING, row(**changes), storage, [])
    assert target.key_for(job(), 3, "png") == key
    assert target.manifest_key(JOB) == manifest


@pytest.mark.parametrize(("given", "wanted"), [(True, True), (False, False), (None, False)])
def test_a_manifest_is_written_only_if_asked_for(given: bool | None, wanted: bool) -> None:
    assert read_target(KEYRING, row(manifest=given), None, []).manifest is wanted
    assert read_target(KEYRING, row(), None, []).manifest is False


def test_a_role_is_shown_with_the_external_id_that_nobody_chose() -> None:
    assert destination_json(row())["auth"] == {"type": "assume_role", "role_arn": ROLE, "external_id": EXTERNAL_ID}
    assert destination_json(row(auth=AMBIENT))["auth"] == {"type": "ambient"}
    assert destination_json(row(auth=ACCESS_KEY))["auth"] == {"type": "access_key", "access_key_id": "AKIAEXAMPLE"}


def test_the_status_says_what_is_known_of_the_bucket() -> None:
    unchecked, noon = row(), datetime(2026, 11, 1, 12, tzinfo=UTC)
    failure = {"code": "AccessDenied", "message": "the bucket denies", "hint": "allow it"}
    failing = {**unchecked, "checked_at": noon, "failing_since": noon, "failure": failure}
    shown = [destination_json(each) for each in (unchecked, {**unchecked, "checked_at": noon}, failing)]
    assert [each["status"] for each in shown] == ["unchecked", "ok", "failing"]
    assert [each["checked_at"] for each in shown] == [None, "2026-11-01T12:00:00.000Z", "2026-11-01T12:00:00.000Z"]
    assert [each["failing_since"] for each in shown] == [None, None, "2026-11-01T12:00:00.000Z"]
    assert [each["failure"] for each in shown] == [None, None, failure]


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:role/genrelay",
        "arn:aws-cn:iam::123456789012:role/a/b.c/gen+re=la,y.@-_9",
        "arn:aws-us-gov:iam::123456789012:role/genrelay",
        "arn:aws-iso-b:iam::123456789012:role/genrelay",
    ],
)
def test_roles_of_every_part_of_aws_are_taken(arn: str) -> None:
    given = body(auth={"type": "assume_role", "role_arn": arn})
    assert shape_of(given).model_validate(given).public()["auth"] == {"type": "assume_role", "role_arn": arn}


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "genrelay",
        "arn:aws:iam::123456789012:user/genrelay",
        "arn:aws:iam::123456789012:role/",
        "arn:aws:iam::123456789012:role//genrelay",
        "arn:aws:iam::12345678901:role/genrelay",
        "arn:aws:iam::1234567890123:role/genrelay",
        "arn:aws:iam:eu-central-1:123456789012:role/genrelay",
        "arn:aws:sts::123456789012:assumed-role/genrelay/session",
        "arn:azure:iam::123456789012:role/genrelay",
        "arn:aws-:iam::123456789012:role/genrelay",
        "arn:aws:iam::123456789012:role/gen relay",
        "arn:aws:iam::123456789012:role/genrelay\n",
        "arn:aws:iam::123456789012:role/" + "x" * 65,
        "arn:aws:iam::123456789012:role/" + "x/" * 2000 + "y",
        "arn:aws:iam::\u0661\u0662\u0663456789012:role/genrelay",
        " arn:aws:iam::123456789012:role/genrelay",
    ],
)
def test_what_is_no_role_is_refused(arn: str) -> None:
    given = body(auth={"type": "assume_role", "role_arn": arn})
    with pytest.raises(ValidationError, match="must be the ARN of a role"):
        shape_of(given).model_validate(given)


@pytest.mark.parametrize("auth", [{}, {"type": None}, {"type": ["access_key"]}, {"type": "password"}, None, [], "x"])
def test_credentials_of_no_known_kind_are_refused(auth: Any) -> None:
    given = body(auth=auth)
    with pytest.raises(ValidationError):
        shape_of(given).model_validate(given)
