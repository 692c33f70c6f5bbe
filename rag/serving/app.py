"""The routes: `/v1/completions`, `/v1/chat/completions`, `/v1/models` and `/health`, over one engine loop (FastAPI; extra "serve").

Whatever goes wrong is told in OpenAI's error form: 400 for the client's faults, 404 for another model's name, 500 where the engine
failed, 503 while it is down; within a stream that has begun, as an event.

Known gaps: log-probabilities are the chosen tokens' alone (no `top_logprobs`); no tools, no penalties but `repetition_penalty`, no keys.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from rag.serving.desk import Desk, Job
from rag.serving.loop import EngineLoop
from rag.serving.replies import ApiError, model_card
from rag.serving.requests import ChatBody, CompletionBody

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app(loop: EngineLoop) -> "FastAPI":
    """The application over a loop that somebody else starts and closes."""
    from fastapi import FastAPI, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, Response, StreamingResponse
    from starlette.exceptions import HTTPException

    app = FastAPI(title="genir", openapi_url=None)
    desk = Desk(loop)

    async def answer(job: Job, stream: bool, with_usage: bool, request: Request) -> Response:
        if not stream:
            return JSONResponse(await desk.whole(job, request.is_disconnected))
        events = desk.events(job, with_usage, request.is_disconnected)
        first = await anext(events)  # so that a fault before the first token has its own HTTP status
        return StreamingResponse(_server_sent(first, events), media_type="text/event-stream")

    @app.post("/v1/completions")
    async def completions(body: CompletionBody, request: Request) -> Response:
        job = await asyncio.to_thread(desk.completion, body)
        return await answer(job, body.stream, body.stream_options.include_usage, request)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatBody, request: Request) -> Response:
        job = await asyncio.to_thread(desk.chat, body)
        return await answer(job, body.stream, body.stream_options.include_usage, request)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model_card(loop.engine.name)]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        desk.check_model(name)
        return model_card(loop.engine.name)

    @app.get("/health")
    async def health() -> Response:
        status = {"status": "down", "reason": loop.fault} if loop.fault else {"status": "ok"}
        return JSONResponse(status, 503 if loop.fault else 200)

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> Response:
        waiting = {"Retry-After": "2"} if error.status == 503 else None
        return JSONResponse(error.body(), error.status, waiting)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        found = _refusal(error.errors()[0])
        return JSONResponse(found.body(), found.status)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        found = ApiError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
        return JSONResponse(found.body(), found.status)

    return app


def _refusal(fault: Mapping[str, Any]) -> ApiError:
    """What pydantic says about a body, as an error that names the field in OpenAI's way: messages[0].content."""
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "json_invalid":
        return ApiError(400, f"the body is no JSON: {fault['ctx']['error']} at character {fault['loc'][-1]}")
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"][1:])
    where = where.removeprefix(".")
    return ApiError(400, f"{where}: {message}" if where else message, where or None)


async def _server_sent(first: dict[str, Any], rest: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    yield f"data: {json.dumps(first, ensure_ascii=False)}\n\n"
    try:
        async for event in rest:
            yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
    except ApiError as error:
        yield f"data: {json.dumps(error.body())}\n\n"
        return
    yield "data: [DONE]\n\n"
