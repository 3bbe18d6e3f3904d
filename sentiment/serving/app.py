"""The application: which address answers what."""

from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from sentiment import __version__
from sentiment.runtime.errors import InputError, check_choice, shorten
from sentiment.serving import messages
from sentiment.serving.labelling import LabelledFile, keep_file
from sentiment.serving.limits import Limits, Places, ProtectRequests, check_limit
from sentiment.serving.messages import AsciiJSONResponse, JSONRoute, Name, answer_error
from sentiment.serving.scheduling import SlowWork
from sentiment.serving.served_model import ServedModel

PAGE = Path(__file__).with_name("page")
MAX_FILES = 4  # that are received, checked and labelled at a time
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": messages.ErrorAnswer}
    for status in (400, 403, 404, 405, 413, 414, 415, 422, 500, 503)
}
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
A_FILE = {"requestBody": {"content": BYTES, "required": True}}
ROWS = (
    "A row per row of the file: `row`, its columns, and the prediction. An apostrophe stands before cells that a "
    "spreadsheet would evaluate, such as `=1+1`. X-Rows counts all rows, X-Empty those without a text."
)
COUNTS = {name: {"schema": {"type": "integer"}} for name in ("X-Rows", "X-Empty")}
LABELLED: dict[int | str, dict[str, Any]] = {200: {"description": ROWS, "headers": COUNTS}}


def make_app(models: Sequence[ServedModel], limits: Limits, names: Collection[str]) -> ASGIApp:
    """Make the application; the first model answers requests that name none."""
    app = FastAPI(
        title="sentiment",
        version=__version__,
        responses=ERRORS,
        default_response_class=AsciiJSONResponse,
        redoc_url=None,
        docs_url=None,
    )
    app.router.route_class = JSONRoute
    _add_addresses(app, models, limits)
    _add_errors(app)
    _add_page(app)
    return ProtectRequests(app, limits, names, SECURITY_HEADERS)


def _add_addresses(app: FastAPI, models: Sequence[ServedModel], limits: Limits) -> None:
    by_name = {model.name: model for model in models}
    explanations, searches, checks = SlowWork(), SlowWork(), SlowWork()
    files = Places(MAX_FILES)

    def find(name: str | None) -> ServedModel:
        if name is not None:
            check_choice(tuple(by_name), model=name)
        return models[0] if name is None else by_name[name]

    @app.post("/predict", responses={200: {"model": messages.PredictAnswer}})
    async def predict(body: messages.PredictRequest) -> Any:
        """Classify one text or several."""
        model = find(body.model)
        texts = [body.text] if isinstance(body.text, str) else body.text
        check_limit(len(texts), limits.max_texts, "texts", "text")
        check_limit(max(map(len, texts), default=0), limits.max_characters, "characters", "text")
        answers = await model.predict(texts)
        predictions = [found._asdict() | {"warning": warning} for found, warning in answers]
        return {"model": model.name, "predictions": predictions}

    @app.post("/explain", responses={200: {"model": messages.ExplainAnswer}})
    async def explain(body: messages.ExplainRequest, request: Request) -> Any:
        """Explain the prediction for a text: attributions, prefix probabilities and, if wanted, gates."""
        model = find(body.model)
        check_limit(len(body.text), limits.max_characters, "characters", "text")
        return await explanations.run(
            request,
            lambda check: model.explain(body.text, body.target, body.gates, check, body.quick),
        )

    @app.post("/changes", responses={200: {"model": messages.ChangesAnswer}})
    async def changes(body: messages.ChangesRequest, request: Request) -> Any:
        """What would change the prediction for a text: leaving a word out, or another in its place."""
        model = find(body.model)
        check_limit(len(body.text), limits.max_characters, "characters", "text")
        return await explanations.run(
            request, lambda check: model.find_changes(body.text, body.target, check)
        )

    @app.post("/neighbors", responses={200: {"model": messages.NeighborsAnswer}})
    async def neighbors(body: messages.NeighborsRequest, request: Request) -> Any:
        """The nearest neighbors of a word."""
        model = find(body.model)
        found = await explanations.run(request, lambda _: model.find_neighbors(body.word))
        return {"model": model.name, "neighbors": found}

    @app.get("/reviews", responses={200: {"model": messages.ReviewsAnswer}})
    async def reviews(
        request: Request,
        model: Name | None = None,
        search: Name = "",
        label: Name | None = None,
        predicted: Name | None = None,
        wrong: bool = False,
        order: Literal[
            "most wrong", "least sure", "row", "class", "predicted", "length"
        ] = "most wrong",
        reverse: bool = False,
        start: Annotated[int, Query(ge=0, le=10**9)] = 0,
        count: Annotated[int, Query(ge=1, le=100)] = 25,
    ) -> Any:
        """The test set of a model's run and the predictions for it."""
        found = find(model)
        return await searches.run(
            request,
            lambda _: found.test_set.find(
                search, label, predicted, order, start, count, wrong, reverse
            ),
        )

    @app.post("/label", response_class=LabelledFile, responses=LABELLED, openapi_extra=A_FILE)
    async def label(
        request: Request,
        name: Name,
        model: Name | None = None,
        column: Name | None = None,
        no_header: bool = False,
    ) -> Any:
        """The columns of a file, the body of the request, beside the prediction for each row, as CSV."""
        found = find(model)
        async with AsyncExitStack() as stack:
            stack.enter_context(files.take())
            file = stack.enter_context(keep_file(name, found, limits, column, no_header))
            async for part in request.stream():
                file.write(part)
            rows, empty = await checks.run(request, file.check)
            headers = {"X-Rows": str(rows), "X-Empty": str(empty)}
            headers["Content-Disposition"] = "attachment; filename=labelled.csv"
            answer = LabelledFile(file.label(), headers=headers)
            answer.stack = stack.pop_all()
            return answer

    @app.get("/health", responses={200: {"model": dict[str, str]}})
    async def health() -> Any:
        """Whether the server answers."""
        return {"status": "ok"}

    @app.get("/model", responses={200: {"model": messages.ModelsAnswer}})
    async def model() -> Any:
        """The models: classes, network, commit and metrics; and the limits of a request.

        Runs that changed are read again.
        """
        for model in models:
            await run_in_threadpool(model.refresh)
        return {"models": [model.describe() for model in models], "limits": vars(limits)}


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def answer_http_error(request: Request, error: HTTPException) -> Response:
        answer = answer_error(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(ModuleNotFoundError)  # of captum, which is an extra
    @app.exception_handler(InputError)
    async def answer_input_error(request: Request, error: Exception) -> Response:
        return answer_error(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def answer_invalid_request(request: Request, error: RequestValidationError) -> Response:
        problems = []
        for problem in error.errors()[:2]:  # of a text that is neither a string nor a list
            place = ".".join(str(part) for part in problem["loc"][1:]) or "body"
            problems.append(f"{shorten(place)}: {problem['msg']}")
        return answer_error(422, "; ".join(problems))

    @app.exception_handler(ClientDisconnect)
    async def answer_nobody(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)

    @app.exception_handler(Exception)
    async def answer_failure(request: Request, error: Exception) -> Response:
        return answer_error(500, "the server failed; see its log")


def _add_page(app: FastAPI) -> None:
    page = StaticFiles(directory=PAGE)

    async def send_page(request: Request) -> Response:
        return await page.get_response(request.url.path.strip("/") or "index.html", request.scope)

    for path in ("", *(file.name for file in PAGE.iterdir())):
        app.add_route(f"/{path}", send_page, include_in_schema=False)
