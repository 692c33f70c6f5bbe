"""The JSON API: POST /api/answer, POST /api/search, GET /api/health, and their schema at /api/openapi.json (FastAPI; extra "serve").

The desk and its limits are the page's own. Whatever goes wrong is {"error": "one line"}: 400 for a faulty request, 404, 413 for a question
that is too long, 429 for too many, 503 and 504 where the server is too busy.
"""

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
    asked_of,
)
from experiments.demo.desk import Desk
from experiments.demo.limits import RefusalError
from experiments.demo.progress import Asked
from genir import __version__
from genir.errors import GenirError

if TYPE_CHECKING:
    from fastapi import FastAPI

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (400, 404, 413, 429, 500, 503, 504)
}


def create_api(desk: Desk) -> "FastAPI":
    """The application with the API's routes alone; the page is mounted beside them."""
    from fastapi import FastAPI, Request

    app = FastAPI(title="genir", version=__version__, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)
    library = desk.library

    def asked(body: SearchBody) -> Asked:
        return asked_of(body, library.retriever_names[0], library.reader_names[0])

    def client(request: Request) -> str:
        return request.client.host if request.client else ""

    @app.post("/api/answer", responses=_ERRORS)
    def answer(body: AnswerBody, request: Request) -> AnswerReply:
        """Answer a question from the documents."""
        *_, last = desk.answer(asked(body), client(request))
        return AnswerReply.of(last)

    @app.post("/api/search", responses=_ERRORS)
    def search(body: SearchBody, request: Request) -> SearchReply:
        """Find passages."""
        return SearchReply.of(desk.search(asked(body), client(request)))

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

    @app.api_route("/api/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def unknown(path: str) -> None:
        """Whatever else lies below /api: the page must not answer it."""
        raise RefusalError(404, f"no such route: /api/{path}; there are /api/answer, /api/search and /api/health")

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
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return reply(400, f"{where}: {first['msg']}" if where else str(first["msg"]))
