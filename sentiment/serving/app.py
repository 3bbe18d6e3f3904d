"""The application: which address answers what."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from sentiment import __version__
from sentiment.runtime.errors import InputError, shorten
from sentiment.serving.examples import find_examples
from sentiment.serving.labelling import FileToLabel, LabelledFile
from sentiment.serving.limits import Limits, ProtectRequests
from sentiment.serving.messages import (
    AsciiJSONResponse,
    ErrorAnswer,
    Example,
    ExplainAnswer,
    ExplainRequest,
    HealthAnswer,
    JSONRequest,
    ModelsAnswer,
    Name,
    NeighborsAnswer,
    NeighborsRequest,
    PredictAnswer,
    PredictRequest,
    ReviewsAnswer,
    answer_error,
)
from sentiment.serving.served_model import ServedModel
from sentiment.serving.slow_work import SlowWork

PAGE = Path(__file__).with_name("page")
MAX_FILES = 4  # that are received, checked and labelled at a time
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 403, 404, 405, 413, 414, 415, 422, 500, 503)
}
FILE = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    "required": True,
}
LABELLED = {
    "description": "A row per row of the file: `row`, its columns, and the prediction. An apostrophe stands before "
    "cells that a spreadsheet would evaluate, such as `=1+1`.",
    "content": {"text/csv": {"schema": {"type": "string"}}},
    "headers": {
        "X-Rows": {"description": "rows of the file", "schema": {"type": "integer"}},
        "X-Empty": {"description": "those of them without a text", "schema": {"type": "integer"}},
    },
}


class JSONRoute(APIRoute):
    """A route that reads JSON as `JSONRequest` does, and no other body."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """A function that answers a request."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if self.body_field and kind != "application/json":
                raise HTTPException(415, "send Content-Type: application/json")
            return await handler(JSONRequest(request.scope, request.receive))

        return answer


def make_app(models: Sequence[ServedModel], limits: Limits, names: Collection[str]) -> ASGIApp:
    """Make the application.

    Args:
        models: the first one answers requests that name none.
        limits: of a request.
        names: by which the server may be called, see `ProtectRequests`.
    """
    app = FastAPI(
        title="sentiment",
        version=__version__,
        responses=ERRORS,
        default_response_class=AsciiJSONResponse,
        redoc_url=None,
        docs_url=None,
    )
    app.router.route_class = JSONRoute
    by_name = {model.name: model for model in models}
    explanations, searches, checks = SlowWork(), SlowWork(), SlowWork()
    files = asyncio.Semaphore(MAX_FILES)

    def find(name: str | None) -> ServedModel:
        if name is None:
            return models[0]
        if name not in by_name:
            raise HTTPException(
                404, f"model: there is no {shorten(name)}; choose one of {', '.join(by_name)}"
            )
        return by_name[name]

    def check_length(text: str) -> None:
        if len(text) > limits.max_characters:
            raise HTTPException(
                413,
                f"text: has {len(text):,} characters; at most {limits.max_characters:,} are allowed",
            )

    @app.post("/predict", responses={200: {"model": PredictAnswer}})
    async def predict(body: PredictRequest) -> Any:
        """Classify one text or several."""
        model, texts = find(body.model), body.text
        if len(texts) > limits.max_texts:
            raise HTTPException(
                413, f"text: {len(texts):,} texts; at most {limits.max_texts:,} are allowed"
            )
        for text in texts:
            check_length(text)
        answers = await model.predict(texts)
        predictions = [
            prediction._asdict() | {"warning": warning} for prediction, warning in answers
        ]
        return {"model": model.name, "predictions": predictions}

    @app.post("/explain", responses={200: {"model": ExplainAnswer}})
    async def explain(body: ExplainRequest, request: Request) -> Any:
        """Explain the prediction for a text: attributions, prefix probabilities and, if wanted, gates."""
        model = find(body.model)
        check_length(body.text)
        return await explanations.run(
            request, lambda check: model.explain(body.text, body.target, body.gates, check)
        )

    @app.post("/neighbors", responses={200: {"model": NeighborsAnswer}})
    async def neighbors(body: NeighborsRequest, request: Request) -> Any:
        """The nearest neighbors of a word."""
        model = find(body.model)
        found = await explanations.run(request, lambda _: model.find_neighbors(body.word))
        return {"model": model.name, "neighbors": found}

    @app.get("/reviews", responses={200: {"model": ReviewsAnswer}})
    async def reviews(
        request: Request,
        model: Name | None = None,
        search: Name = "",
        label: Name | None = None,
        predicted: Name | None = None,
        order: Literal["most wrong", "least sure", "row"] = "most wrong",
        start: Annotated[int, Query(ge=0, le=10**9)] = 0,
        count: Annotated[int, Query(ge=1, le=100)] = 25,
    ) -> Any:
        """The test set of a model's run and the predictions for it."""
        found = find(model)
        return await searches.run(
            request, lambda _: found.test_set.find(search, label, predicted, order, start, count)
        )

    @app.get("/examples", responses={200: {"model": list[Example]}})
    async def examples(request: Request) -> Any:
        """Texts of the test sets on which the models disagree or are most wrong."""
        return await searches.run(request, lambda _: find_examples(models))

    @app.post(
        "/label",
        status_code=200,
        response_class=LabelledFile,
        responses={200: LABELLED},
        openapi_extra={"requestBody": FILE},
    )
    async def label(
        request: Request,
        name: Name,
        model: Name | None = None,
        column: Name | None = None,
        no_header: bool = False,
    ) -> Any:
        """The columns of a file, the body of the request, beside the prediction for each row, as CSV."""
        found = find(model)
        if files.locked():
            raise HTTPException(503, f"busy: {MAX_FILES} files are being labelled; try again later")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(files)
            file = stack.enter_context(FileToLabel(name, found, limits, column, no_header))
            async for part in request.stream():
                file.write(part)
            rows, empty = await checks.run(request, file.check)
            return LabelledFile(file.label(), rows, empty, stack.pop_all())

    @app.get("/health", responses={200: {"model": HealthAnswer}})
    async def health() -> Any:
        """Whether the server answers."""
        return {"status": "ok"}

    @app.get("/model", responses={200: {"model": ModelsAnswer}})
    async def model() -> Any:
        """The models: classes, network, commit and metrics; and the limits of a request."""
        return {"models": [model.describe() for model in models], "limits": vars(limits)}

    @app.exception_handler(HTTPException)
    async def answer_http_error(request: Request, error: HTTPException) -> Response:
        answer = answer_error(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(InputError)
    async def answer_input_error(request: Request, error: InputError) -> Response:
        return answer_error(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def answer_invalid_request(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return answer_error(422, f"{shorten(place)}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    async def answer_nobody(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)

    @app.exception_handler(Exception)
    async def answer_failure(request: Request, error: Exception) -> Response:
        return answer_error(500, "the server failed; see its log")

    page = StaticFiles(directory=PAGE)

    async def send_page(request: Request) -> Response:
        return await page.get_response(request.url.path.strip("/") or "index.html", request.scope)

    for path in ("", *(file.name for file in PAGE.iterdir())):
        app.add_route(f"/{path}", send_page, include_in_schema=False)
    return ProtectRequests(app, limits, names, SECURITY_HEADERS)
