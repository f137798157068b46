"""`GET /v1/providers`: what can be asked for, with the JSON Schema of each input."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from handlers.auth import account_of
from handlers.query import Query
from service.app import Service
from service.providers.contract import Provider


class Providers:
    """The routes of providers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, request: Request) -> Response:
        """List all providers; `available` tells whether this service has a key."""
        await account_of(self._service, request)
        Query(request).end()
        data = [self._show(provider) for provider in self._service.context.providers.values()]
        return JSONResponse({"data": data, "next_cursor": None, "has_more": False})

    def _show(self, provider: Provider) -> dict[str, Any]:
        return {
            "object": "provider",
            "name": provider.name,
            "available": self._service.context.access(provider.name) is not None,
            "operations": [
                {
                    "name": o.name,
                    "path": o.path,
                    "test_mode": True,
                    "native_test_mode": o.native_test_mode,
                    "input_schema": o.input_schema,
                }
                for o in provider.operations.values()
            ],
        }
