"""What ``sidestep-evaluator serve`` answers: the page, its data, and events. It reads; it never writes.

No address names a file. Every piece is asked for by a hash that is checked letter by letter, so there is nothing that
a path could climb out of. Requests whose Host header is not ours are refused, so that no foreign page can reach this
server through a name that it lets point here (DNS rebinding).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidestep.evaluator.presenting.dashboard.cache import PAGE_DATA_NAME, cache_folder, read_segment
from sidestep.evaluator.presenting.dashboard.page import content_security_policy, page
from sidestep.evaluator.presenting.dashboard.segments import pack_json
from sidestep.evaluator.results.suites import read_suite
from sidestep.evaluator.serving.changes import Changes
from sidestep.shared.files import read_bounded
from sidestep.shared.protocol.layout import ReportsFolder

MAX_PAGE_DATA_BYTES = 1 << 30
LOOPBACK = ("localhost", "127.0.0.1")


class _Headers:
    """Headers that every answer carries: no framing, no sniffing, no caching, and the page's own policy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [
            (name.encode(), value.encode())
            for name, value in {
                "content-security-policy": f"{content_security_policy(live=True)}; frame-ancestors 'none'",
                "x-content-type-options": "nosniff",
                "referrer-policy": "no-referrer",
                "cross-origin-resource-policy": "same-origin",
                "cross-origin-opener-policy": "same-origin",
                "cache-control": "no-store",
            }.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                missing = [(name, value) for name, value in self._headers if name not in given]
                message["headers"] = [*message["headers"], *missing]
            await send(message)

        await self._app(scope, receive, with_headers)


def create_app(reports: ReportsFolder, changes: Changes, *, hosts: Sequence[str] = ()) -> Starlette:
    """The application. ``hosts`` are names besides the loopback's by which it may be called."""

    async def index(request: Request) -> Response:
        return Response(page("Sidestep", {}, live=True), media_type="text/html")

    async def page_data(request: Request) -> Response:
        try:
            content = read_bounded(cache_folder(reports) / PAGE_DATA_NAME, MAX_PAGE_DATA_BYTES)
        except OSError as error:
            raise HTTPException(404, "there are no reports yet") from error
        return Response(content, media_type="application/json")

    async def answers(request: Request) -> Response:
        segment = read_segment(cache_folder(reports), request.path_params["key"])
        if segment is None:
            raise HTTPException(404, "no such piece: the reports have changed, load the page again")
        return PlainTextResponse(segment.answers)

    async def suite(request: Request) -> Response:
        document = read_suite(reports, request.path_params["sha256"])
        if document is None:
            raise HTTPException(404, "no such suite")
        return PlainTextResponse(pack_json(document.get("cases", {})))

    async def events(request: Request) -> Response:
        return EventSourceResponse(_events(changes), ping=15)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/api/page-data", page_data),
            Route("/api/answers/{key}", answers),
            Route("/api/suites/{sha256}", suite),
            Route("/events", events),
        ],
        middleware=[
            Middleware(_Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, *hosts], www_redirect=False),
        ],
        exception_handlers={HTTPException: _refused},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _events(changes: Changes) -> AsyncIterator[ServerSentEvent]:
    """What the evaluators do, at once and whenever it changes; and that there are new reports."""
    async for name, data in changes.events():
        yield ServerSentEvent(data=data, event=name)
