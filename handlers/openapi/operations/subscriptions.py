"""Subscriptions: where an account wants events delivered."""

from __future__ import annotations

from handlers.openapi.operation import Answer, Body, Operation, Parameter, answer
from handlers.openapi.operations.deliveries import EVENT_TYPE, JOB, STATUS
from handlers.openapi.parameters import LIMIT, cursor
from handlers.openapi.schema import choice, ref

_TAG = "Subscriptions"
_ORIGIN = Parameter(
    "origin",
    "`job` lists the webhooks that jobs have named.",
    {**choice("Where it comes from.", ["api", "job"]), "default": "api"},
)
_EXAMPLES = {
    "webhook": {
        "url": "https://consumer.example/hooks",
        "event_types": ["job.succeeded", "job.failed"],
        "filter": {"provider": "novita", "metadata": {"tenant": "blue"}},
    },
    "queue": {
        "sink": {
            "type": "sqs",
            "queue_url": "https://sqs.eu-central-1.amazonaws.com/123456789012/renders",
            "auth": {"type": "assume_role", "role_arn": "arn:aws:iam::123456789012:role/genrelay"},
        },
        "payload": "thin",
    },
}
_ROTATION = {"a day": {"grace_seconds": 86_400}}
_OF_ONE = ["not_found"]

OPERATIONS = {
    ("POST", "/v1/subscriptions"): Operation(
        id="create_subscription",
        tag=_TAG,
        summary="Make a subscription",
        description="Makes a subscription: a webhook, an SQS queue, an SNS topic or an EventBridge bus.",
        body=Body(ref("SubscriptionRequest"), _EXAMPLES),
        answers={201: answer("Subscription", "The subscription.", "Location")},
        problems=["too_many_subscriptions"],
    ),
    ("GET", "/v1/subscriptions"): Operation(
        id="list_subscriptions",
        tag=_TAG,
        summary="List subscriptions",
        description="Lists the account's subscriptions, newest first.",
        parameters=[LIMIT, cursor("sub"), _ORIGIN],
        answers={200: answer("SubscriptionPage", "A page of subscriptions.")},
    ),
    ("GET", "/v1/subscriptions/{id}"): Operation(
        id="get_subscription",
        tag=_TAG,
        summary="Show a subscription",
        description="Shows a subscription without its secrets.",
        answers={200: answer("Subscription", "The subscription.")},
        problems=_OF_ONE,
    ),
    ("PATCH", "/v1/subscriptions/{id}"): Operation(
        id="change_subscription",
        tag=_TAG,
        summary="Change a subscription",
        description="Changes the fields that the body names, each as a whole; null goes back to the default.",
        body=Body(ref("SubscriptionChanges"), {"all jobs": {"event_types": ["job.*"], "filter": None}}),
        answers={200: answer("Subscription", "The subscription, changed.")},
        problems=["not_found", "subscription_of_jobs"],
    ),
    ("DELETE", "/v1/subscriptions/{id}"): Operation(
        id="delete_subscription",
        tag=_TAG,
        summary="Delete a subscription",
        description="Deletes a subscription with its secrets; what is on its way to it is canceled.",
        answers={204: Answer("It is deleted.")},
        problems=_OF_ONE,
    ),
    ("POST", "/v1/subscriptions/{id}/enable"): Operation(
        id="enable_subscription",
        tag=_TAG,
        summary="Enable a subscription",
        description="Delivers to it again, from now on. `recover` brings back what it has missed.",
        answers={200: answer("Subscription", "The subscription, enabled.")},
        problems=_OF_ONE,
    ),
    ("POST", "/v1/subscriptions/{id}/disable"): Operation(
        id="disable_subscription",
        tag=_TAG,
        summary="Disable a subscription",
        description="Delivers nothing to it until it is enabled; what is on its way to it is canceled.",
        answers={200: answer("Subscription", "The subscription, disabled.")},
        problems=_OF_ONE,
    ),
    ("GET", "/v1/subscriptions/{id}/secret"): Operation(
        id="get_subscription_secret",
        tag=_TAG,
        summary="Show a subscription's signing secret",
        description="Shows the secret that its deliveries are signed with.",
        answers={200: answer("SigningSecret", "The secret.", "Cache-Control")},
        problems=["not_found", "subscription_of_jobs", "not_signed"],
    ),
    ("POST", "/v1/subscriptions/{id}/secret/rotate"): Operation(
        id="rotate_subscription_secret",
        tag=_TAG,
        summary="Rotate a subscription's signing secret",
        description="Replaces the secret; the one before signs, too, for a grace period.",
        body=Body(ref("SecretRotation"), _ROTATION, required=False),
        answers={200: answer("SigningSecret", "The new secret.", "Cache-Control")},
        problems=["not_found", "subscription_of_jobs", "not_signed"],
    ),
    ("POST", "/v1/subscriptions/{id}/test"): Operation(
        id="test_subscription",
        tag=_TAG,
        summary="Test a subscription",
        description="Really delivers an event of type `subscription.test`, and tells what came back. Nothing of it is kept.",
        answers={200: answer("SubscriptionTest", "What came of it.")},
        problems=["not_found", "too_many_tests"],
    ),
    ("GET", "/v1/subscriptions/{id}/policy"): Operation(
        id="get_subscription_policy",
        tag=_TAG,
        summary="Show the IAM policies of a subscription's sink",
        description="Shows the IAM policies that its sink needs, to paste. Nothing is asked of AWS.",
        answers={200: answer("SubscriptionPolicy", "The policies.")},
        problems=["not_found", "no_sink"],
    ),
    ("GET", "/v1/subscriptions/{id}/deliveries"): Operation(
        id="list_subscription_deliveries",
        tag=_TAG,
        summary="List a subscription's deliveries",
        description="Lists what was delivered to it, or was to be, newest first.",
        parameters=[LIMIT, cursor("dlv"), JOB, STATUS, EVENT_TYPE],
        answers={200: answer("DeliveryPage", "A page of deliveries.")},
        problems=_OF_ONE,
    ),
    ("POST", "/v1/subscriptions/{id}/recover"): Operation(
        id="recover_subscription",
        tag=_TAG,
        summary="Deliver again what was missed",
        description="Delivers again what failed, was canceled or was never sent since a time.",
        body=Body(ref("RecoverRequest"), {"since a time": {"since": "2026-11-20T00:00:00Z"}}),
        answers={202: answer("Recovery", "So many deliveries are on their way again.")},
        problems=["not_found", "subscription_stopped"],
    ),
}
