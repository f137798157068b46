"""The ASGI application: every route of the service."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from handlers.callbacks import PATTERN, PREFIX, ReceiveCallback
from handlers.deliveries import Deliveries
from handlers.destinations import Destinations
from handlers.edge import Edge, show_http_exception
from handlers.events import Events
from handlers.health import Health
from handlers.jobs import Jobs
from handlers.openapi.routes import Contract
from handlers.places import Places
from handlers.problems import explain
from handlers.providers import Providers
from handlers.signing import Signing
from handlers.subscriptions import Subscriptions
from handlers.webhook_checks import MakeWebhookCheck
from service.app import Service


class Application(Starlette):
    """Starlette, with a shortcut past its routes and middleware for callbacks whose token is good."""

    callbacks: ReceiveCallback | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if (
            self.callbacks is not None
            and scope["type"] == "http"
            and scope["path"].startswith(PREFIX)
            and await self.callbacks.shortcut(scope, receive, send)
        ):
            return
        await super().__call__(scope, receive, send)


def make_app(service: Service) -> Application:
    """Return the application for a service; a worker serves health and metrics only."""
    routes = _health_routes(service)
    callbacks = None if service.role == "worker" else ReceiveCallback(service)
    if callbacks is not None:
        routes = [Route(PATTERN, callbacks), *_api_routes(service), *routes]
    app = Application(
        routes=routes,
        middleware=[Middleware(Places, service.limits), Middleware(Edge)],
        exception_handlers={HTTPException: show_http_exception},
    )
    # An address with a slash too many is unknown; a redirect would go to whatever host the client named.
    app.router.redirect_slashes = False
    app.callbacks = callbacks
    return app


def _health_routes(service: Service) -> list[BaseRoute]:
    health = Health(service)
    return [
        Route("/livez", health.live),
        Route("/readyz", health.ready),
        Route("/metrics", health.metrics),
    ]


def _api_routes(service: Service) -> list[BaseRoute]:
    jobs, destinations, events = Jobs(service), Destinations(service), Events(service)
    signing, contract = Signing(service), Contract(service.settings.public_url)
    subscriptions, deliveries = Subscriptions(service), Deliveries(service)
    return [
        Route("/v1/jobs", jobs.create, methods=["POST"]),
        Route("/v1/jobs", jobs.list, methods=["GET"]),
        Route("/v1/jobs/{id}", jobs.get, methods=["GET"]),
        Route("/v1/jobs/{id}", jobs.delete, methods=["DELETE"]),
        Route("/v1/jobs/{id}/cancel", jobs.cancel, methods=["POST"]),
        Route("/v1/jobs/{id}/retry", jobs.retry, methods=["POST"]),
        Route("/v1/jobs/{id}/copy", jobs.copy, methods=["POST"]),
        Route("/v1/jobs/{id}/events", events.of_job, methods=["GET"]),
        Route("/v1/jobs/{id}/callbacks", jobs.callbacks, methods=["GET"]),
        Route("/v1/jobs/{id}/outputs/{index}", jobs.output, methods=["GET"]),
        Route("/v1/events", events.of_account, methods=["GET"]),
        Route("/v1/destinations", destinations.list, methods=["GET"]),
        Route("/v1/destinations/{name}", destinations.put, methods=["PUT"]),
        Route("/v1/destinations/{name}", destinations.get, methods=["GET"]),
        Route("/v1/destinations/{name}", destinations.delete, methods=["DELETE"]),
        Route("/v1/destinations/{name}/check", destinations.check, methods=["POST"]),
        Route("/v1/destinations/{name}/events", destinations.events, methods=["GET"]),
        Route("/v1/destinations/{name}/policy", destinations.policy, methods=["GET"]),
        Route("/v1/subscriptions", subscriptions.create, methods=["POST"]),
        Route("/v1/subscriptions", subscriptions.list, methods=["GET"]),
        Route("/v1/subscriptions/{id}", subscriptions.get, methods=["GET"]),
        Route("/v1/subscriptions/{id}", subscriptions.patch, methods=["PATCH"]),
        Route("/v1/subscriptions/{id}", subscriptions.delete, methods=["DELETE"]),
        Route("/v1/subscriptions/{id}/enable", subscriptions.enable, methods=["POST"]),
        Route("/v1/subscriptions/{id}/disable", subscriptions.disable, methods=["POST"]),
        Route("/v1/subscriptions/{id}/secret", subscriptions.secret, methods=["GET"]),
        Route("/v1/subscriptions/{id}/secret/rotate", subscriptions.rotate_secret, methods=["POST"]),
        Route("/v1/subscriptions/{id}/test", subscriptions.test, methods=["POST"]),
        Route("/v1/subscriptions/{id}/policy", subscriptions.policy, methods=["GET"]),
        Route("/v1/subscriptions/{id}/deliveries", subscriptions.deliveries, methods=["GET"]),
        Route("/v1/subscriptions/{id}/recover", subscriptions.recover, methods=["POST"]),
        Route("/v1/deliveries", deliveries.list, methods=["GET"]),
        Route("/v1/deliveries/{id}", deliveries.get, methods=["GET"]),
        Route("/v1/deliveries/{id}/resend", deliveries.resend, methods=["POST"]),
        Route("/v1/account/webhook-secret", signing.secret, methods=["GET"]),
        Route("/v1/account/webhook-secret/rotate", signing.rotate_secret, methods=["POST"]),
        Route("/v1/account/signing-key", signing.key, methods=["GET"]),
        Route("/v1/account/signing-key/rotate", signing.rotate_key, methods=["POST"]),
        Route("/.well-known/jwks.json", signing.key_set, methods=["GET"]),
        Route("/v1/providers", Providers(service).list, methods=["GET"]),
        Route("/v1/webhook-checks", MakeWebhookCheck(service).create, methods=["POST"]),
        Route("/problems/{code}", explain, methods=["GET"]),
        Route("/openapi.json", contract.document, methods=["GET"]),
        Route("/docs", contract.page, methods=["GET"]),
    ]
