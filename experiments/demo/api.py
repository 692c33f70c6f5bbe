"""The JSON API: POST /api/answer, POST /api/search, GET /api/health, and their schema at /api/openapi.json (FastAPI; extra "serve").

The desk and its limits are the page's own. Whatever goes wrong is {"error": "one line"}: 400 for a faulty request, 404, 405 for another
method than a route's, 413 for a question that is too long, 429 for too many, 503 and 504 where the server is too busy.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from experiments.demo.api_models import (
    AnswerBody,
    AnswerReply,
    ErrorReply,
    HealthReply,
    LimitsReply,
    SearchBody,
    SearchReply,
    TurnBody,
    asked_of,
)
from experiments.demo.desk import Desk
from experiments.demo.limits import RefusalError
from genir import __version__
from genir.errors import GenirError, unknown_name

if TYPE_CHECKING:
    from fastapi import FastAPI

# "default" keeps FastAPI from promising its own 422, which this server never sends.
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (400, 404, 413, 429, 500, 503, 504)
} | {"default": {"model": ErrorReply, "description": "Whatever else goes wrong"}}
_BODIES: dict[str, type[SearchBody]] = {"/api/answer": AnswerBody, "/api/search": SearchBody}
_JSON_KINDS = {list: "array", str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_api(desk: Desk) -> "FastAPI":
    """The application with the API's routes alone; the page is mounted beside them."""
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse
    from starlette.routing import Route

    app = FastAPI(title="genir", version=__version__, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)
    library = desk.library

    def client(request: Request) -> str:
        return request.client.host if request.client else ""

    @app.post("/api/answer", responses=_ERRORS)
    def answer(body: AnswerBody, request: Request) -> AnswerReply:
        """Answer a question from the documents."""
        *_, last = desk.answer(asked_of(body), client(request))
        return AnswerReply.of(last)

    @app.post("/api/search", responses=_ERRORS)
    def search(body: SearchBody, request: Request) -> SearchReply:
        """Find passages."""
        return SearchReply.of(desk.search(asked_of(body), client(request)))

    @app.get("/api/health")
    def health() -> HealthReply:
        """Whether the server is up, and what it offers."""
        return HealthReply(
            data=library.holdings.dataset.name,
            documents=len(library.documents),
            retrievers=list(library.retriever_names),
            generators=list(library.reader_names),
            limits=LimitsReply(**asdict(desk.limits)),
        )

    @app.api_route("/api/{path:path}", methods=_METHODS, include_in_schema=False)
    def unknown(path: str, request: Request) -> JSONResponse:
        """Whatever else lies below /api: the page must not answer it."""
        asked = f"/api/{path}"
        taken = next((route.methods for route in app.routes if isinstance(route, Route) and route.path == asked), None)
        if not taken:
            raise RefusalError(404, f"no such route: {asked}; there are {', '.join(_BODIES)} and /api/health")
        told = f"{asked} takes {' or '.join(sorted(taken))}, not {request.method}"
        return JSONResponse({"error": told}, 405, {"Allow": ", ".join(sorted(taken))})

    _handle_errors(app)
    return app


def _handle_errors(app: "FastAPI") -> None:
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    def reply(status: int, message: str) -> JSONResponse:
        waiting = {"Retry-After": "5"} if status in (429, 503, 504) else None
        return JSONResponse({"error": message}, status, waiting)

    @app.exception_handler(GenirError)
    async def refused(_: Request, error: GenirError) -> JSONResponse:
        return reply(error.status if isinstance(error, RefusalError) else 400, str(error))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        return reply(500, f"the server failed ({type(error).__name__}): its log says where")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return reply(400, _invalid(error.errors()[0], request.url.path, request.headers.get("content-type", "")))


def _invalid(fault: Mapping[str, Any], path: str, media: str) -> str:
    """What is wrong with the body, of Content-Type `media`, of a request to `path`, by pydantic's first error."""
    where = [str(part) for part in fault["loc"] if part != "body"]
    if fault["type"] == "json_invalid":
        return (
            f"the body is no JSON ({fault['ctx']['error']} at character {where[0]}): expected an object with a question"
        )
    if fault["type"] == "model_attributes_type" or (fault["type"] == "missing" and not where):
        return _no_object(".".join(where) or "the body", fault["input"], media)
    if fault["type"] == "extra_forbidden":
        body: type[TurnBody | SearchBody] = TurnBody if "history" in where[:-1] else _BODIES[path]
        return str(unknown_name("field", ".".join(where), body.model_fields))
    return f"{'.'.join(where)}: {fault['msg']}" if where else str(fault["msg"])


def _no_object(what: str, came: object, media: str) -> str:
    """That no JSON object came where one was expected."""
    if isinstance(came, bytes):  # what is not sent as JSON is not parsed
        got = f"came as {media.partition(';')[0].strip()}" if media else "came without a Content-Type"
    else:
        got = "is empty" if came is None else f"is a JSON {_JSON_KINDS[type(came)]}"
    wanted = 'expected a JSON object; send {"question": "..."} with Content-Type: application/json'
    return f"{what} {got}: {wanted if what == 'the body' else 'expected a JSON object'}"
