"""`/v1/subscriptions`: where an account wants events delivered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handlers.auth import account_of
from handlers.bodies import read_body, read_json
from handlers.deliveries import answer_deliveries, read_since
from handlers.problems import Problem, invalid, not_found
from handlers.query import Query, page
from handlers.signing import answer_secret, read_rotation
from service.app import Service
from service.db.sql import queries
from service.events.recovery import NotDeliverableError, recover
from service.events.signers import NotSignedError, rotate_subscription_secret, signing_key_id, subscription_secret
from service.events.sinks import make_sink_policy
from service.events.subscription import Subscription
from service.events.subscription_input import Surroundings, read_subscription_changes, read_subscription_input
from service.events.subscriptions import (
    change_subscription,
    create_subscription,
    delete_subscription,
    disable_subscription,
    enable_subscription,
    find_subscription,
    list_subscriptions,
    subscription_json,
)
from service.events.trying import TrialsBusyError
from service.ids import BadId, read, show
from service.net.policy import GuardPolicy

_MOST_BYTES = 256 * 1024
_ORIGINS = ["api", "job"]


class Subscriptions:
    """The routes of subscriptions."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pool = service.pool

    async def create(self, request: Request) -> Response:
        """Make a subscription: 201. Its secret is made with it, and shown by a route of its own."""
        account = await account_of(self._service, request)
        Query(request).end()
        given = await _read_document(request)
        wanted = read_subscription_input(given, await self._surroundings(account))
        if isinstance(wanted, list):
            raise invalid(*wanted)
        most = self._service.settings.delivery.subscriptions_per_account
        made = await create_subscription(self._pool, self._service.keyring, account, wanted, most=most)
        return await self._show(made, 201, {"Location": f"/v1/subscriptions/{show('sub', made.id)}"})

    async def list(self, request: Request) -> Response:
        """List the account's subscriptions, newest first; the webhooks of jobs only with `?origin=job`."""
        account = await account_of(self._service, request)
        query = Query(request)
        limit, before = query.take_limit(), query.take_id("sub")
        origin: Any = query.take_choice("origin", _ORIGINS) or "api"
        query.end()
        found = await list_subscriptions(self._pool, account, origin, before, limit + 1)
        key = await self._key(account) if found else ""
        return JSONResponse(page([(show("sub", each.id), subscription_json(each, key)) for each in found], limit))

    async def get(self, request: Request) -> Response:
        """Show a subscription without its secrets."""
        found = await self._require(request)
        Query(request).end()
        return await self._show(found)

    async def patch(self, request: Request) -> Response:
        """Change the fields that the body names; null resets one."""
        found = await self._require(request)
        Query(request).end()
        given = await _read_document(request)
        surroundings = await self._surroundings(found.account_id)
        changes = read_subscription_changes(given, surroundings, of_sink=found.sink is not None)
        if isinstance(changes, list):
            raise invalid(*changes)
        changed = await change_subscription(self._pool, self._service.keyring, found.account_id, found.id, changes)
        return await self._show(changed)

    async def delete(self, request: Request) -> Response:
        """Delete a subscription with its secrets; what is on its way to it is canceled."""
        account, subscription_id = await self._named(request)
        Query(request).end()
        if not await delete_subscription(self._pool, account, subscription_id):
            raise not_found("subscription")
        return Response(status_code=204)

    async def enable(self, request: Request) -> Response:
        """Deliver to it again, from now on; `recover` brings back what it has missed."""
        account, subscription_id = await self._named(request)
        Query(request).end()
        return await self._show(await enable_subscription(self._pool, account, subscription_id))

    async def disable(self, request: Request) -> Response:
        """Deliver nothing to it until it is enabled; what is on its way to it is canceled."""
        account, subscription_id = await self._named(request)
        Query(request).end()
        return await self._show(await disable_subscription(self._pool, account, subscription_id))

    async def secret(self, request: Request) -> Response:
        """Show the secret that its deliveries are signed with."""
        found = await self._require_signed(request)
        Query(request).end()
        return answer_secret(subscription_secret(self._service.keyring, found))

    async def rotate_secret(self, request: Request) -> Response:
        """Replace that secret; the one before signs, too, for a while."""
        found = await self._require_signed(request)
        Query(request).end()
        wanted = await read_rotation(request)
        pool, keyring = self._pool, self._service.keyring
        try:
            shown = await rotate_subscription_secret(
                pool, keyring, found.account_id, found.id, wanted.grace_seconds, wanted.secret
            )
        except NotSignedError:  # deleted a moment ago
            raise not_found("subscription") from None
        return answer_secret(shown)

    async def test(self, request: Request) -> Response:
        """Really deliver an event of type `subscription.test`: 200 with what came of it, 429 while enough are under way."""
        found = await self._require(request)
        Query(request).end()
        try:
            return JSONResponse(await self._service.trials.test(found))
        except TrialsBusyError as busy:
            raise Problem(429, "too_many_tests", str(busy), headers={"Retry-After": "5"}) from None

    async def policy(self, request: Request) -> Response:
        """Show the IAM policies that its sink needs, to paste; nothing is asked of the sink."""
        found = await self._require(request)
        Query(request).end()
        if found.sink is None:
            raise Problem(409, "no_sink", "it has a url; only a sink needs policies of AWS")
        principal = None
        if found.sink["auth"]["type"] != "access_key":
            principal = self._service.settings.aws_principal or await self._service.context.buckets.whoami()
        return JSONResponse(make_sink_policy(found, principal))

    async def deliveries(self, request: Request) -> Response:
        """List what was delivered to it, or was to be."""
        found = await self._require(request)
        return await answer_deliveries(self._service, request, found.account_id, subscription_id=found.id)

    async def recover(self, request: Request) -> Response:
        """Deliver again what failed, was canceled or missed since a time."""
        found = await self._require(request)
        Query(request).end()
        since = read_since(await _read_document(request))
        if found.disabled_at is not None:
            raise NotDeliverableError("it is disabled; enable it first")
        kept = self._service.settings.retention.deliveries_seconds
        count = await recover(self._pool, found, since, kept=kept)
        self._service.context.nearby.tell_of_events()
        return JSONResponse({"recovered": count}, 202)

    async def _show(
        self, found: Subscription | None, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response:
        if found is None:
            raise not_found("subscription")
        return JSONResponse(subscription_json(found, await self._key(found.account_id)), status, headers)

    async def _key(self, account: UUID) -> str:
        return await signing_key_id(self._pool, self._service.keyring, account)

    async def _named(self, request: Request) -> tuple[UUID, UUID]:
        account = await account_of(self._service, request)
        try:
            return account, read("sub", request.path_params["id"])
        except BadId:
            raise not_found("subscription") from None

    async def _require(self, request: Request) -> Subscription:
        found = await find_subscription(self._pool, *await self._named(request))
        if found is None:
            raise not_found("subscription")
        return found

    async def _require_signed(self, request: Request) -> Subscription:
        found = await self._require(request)
        if found.origin == "job":
            raise Problem(
                409,
                "subscription_of_jobs",
                "it stands for the webhook of jobs, and is signed with the account's own secret, /v1/account/webhook-secret",
            )
        if found.url is None:
            raise Problem(409, "not_signed", "it has a sink: AWS vouches for who sends there, so nothing is signed")
        return found

    async def _surroundings(self, account: UUID) -> Surroundings:
        row = await queries().get_account(self._pool, id=account)
        settings, providers = self._service.settings, self._service.context.providers
        return Surroundings(
            policy=GuardPolicy(tuple(settings.allowed_private_subnets)),
            account_name=row["account_name"],
            ambient_accounts=settings.outputs.ambient_accounts,
            operations={name: provider.operations for name, provider in providers.items()},
        )


async def _read_document(request: Request) -> Any:
    return await read_json(await read_body(request.scope, request.receive, _MOST_BYTES))
