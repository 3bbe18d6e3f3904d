"""The application: which address answers what."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response, StreamingResponse
from starlette.staticfiles import StaticFiles

from sentiment import __version__
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import InputError, shorten
from sentiment.serving.examples import find_examples
from sentiment.serving.files import FileToLabel
from sentiment.serving.limits import Limits, ProtectRequests
from sentiment.serving.models import ServedModel

PAGE = Path(__file__).with_name("page")
MAX_WAITING = 16  # requests for work that takes seconds; those of clients that left do not count
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class AsciiJSONResponse(Response):
    """JSON in ASCII, which can hold any string, also one that is not valid Unicode."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, separators=(",", ":")).encode()


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _as_list(text: Any) -> Any:
    return [text] if isinstance(text, str) else text


class PredictRequest(_Body):
    """One text or several, for one model."""

    text: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
    model: str | None = None


class ExplainRequest(_Body):
    """A text, for one model."""

    text: str
    model: str | None = None
    target: str | None = Field(None, alias="class")
    gates: bool = False


class NeighborsRequest(_Body):
    """A word, for one model."""

    word: str
    model: str | None = None


class SlowWork:
    """Runs work that takes seconds in a thread, one piece at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def run(self, request: Request, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of some work, once it is its turn.

        Raises:
            HTTPException: too many requests wait, or the client has left.
        """
        if self._waiting >= MAX_WAITING:
            raise HTTPException(503, f"busy: {self._waiting} requests wait; try again in some seconds")
        self._waiting += 1
        try:
            async with self._turn:
                if await request.is_disconnected():
                    raise HTTPException(499, "the client has left")
                return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        finally:
            self._waiting -= 1


def make_app(models: Sequence[ServedModel], limits: Limits, hosts: Sequence[str]) -> FastAPI:
    """Make the application.

    Args:
        models: the first one answers requests that name none.
        limits: of a request.
        hosts: names by which the server may be called; of others it answers none, lest a page of another site reaches
            it under a name of its own.
    """
    app = FastAPI(
        title="sentiment", version=__version__, default_response_class=AsciiJSONResponse, redoc_url=None, docs_url=None
    )
    by_name = {model.name: model for model in models}
    explanations, searches = SlowWork(), SlowWork()

    def find(name: str | None) -> ServedModel:
        if name is None:
            return models[0]
        if name not in by_name:
            raise HTTPException(404, f"model: there is no {shorten(name)}; choose one of {', '.join(by_name)}")
        return by_name[name]

    def check_length(text: str) -> None:
        if len(text) > limits.max_characters:
            raise HTTPException(
                413, f"text: has {len(text):,} characters; at most {limits.max_characters:,} are allowed"
            )

    @app.post("/predict")
    async def predict(body: PredictRequest) -> Any:
        """Classify one text or several."""
        model, texts = find(body.model), body.text
        if len(texts) > limits.max_texts:
            raise HTTPException(413, f"text: {len(texts):,} texts; at most {limits.max_texts:,} are allowed")
        for text in texts:
            check_length(text)
        predictions = [prediction._asdict() for prediction in await model.predict(texts)]
        return {"model": model.name, "predictions": predictions}

    @app.post("/explain")
    async def explain(body: ExplainRequest, request: Request) -> Any:
        """Explain the prediction for a text: attributions, prefix probabilities and, if wanted, gates."""
        model = find(body.model)
        check_length(body.text)
        return await explanations.run(request, model.explain, body.text, body.target, body.gates)

    @app.post("/neighbors")
    async def neighbors(body: NeighborsRequest, request: Request) -> Any:
        """The nearest neighbors of a word."""
        model = find(body.model)
        return {"model": model.name, "neighbors": await explanations.run(request, model.find_neighbors, body.word)}

    @app.get("/reviews")
    async def reviews(
        request: Request,
        model: str | None = None,
        search: Annotated[str, Query(max_length=200)] = "",
        label: str | None = None,
        predicted: str | None = None,
        order: Literal["most wrong", "least sure", "row"] = "most wrong",
        start: Annotated[int, Query(ge=0, le=10**9)] = 0,
        count: Annotated[int, Query(ge=1, le=100)] = 25,
    ) -> Any:
        """The test set of a model's run and the predictions for it."""
        found = find(model)
        return await searches.run(request, lambda: found.test_set.find(search, label, predicted, order, start, count))

    @app.get("/examples")
    async def examples(request: Request) -> Any:
        """Texts of the test sets on which the models disagree or are most wrong."""
        return await searches.run(request, find_examples, models)

    @app.post("/label")
    async def label(
        request: Request, name: str, model: str | None = None, column: str | None = None, no_header: bool = False
    ) -> Any:
        """The columns of a file, the body of the request, beside the prediction for each row, as CSV."""
        found = find(model)
        file = FileToLabel(name, found, limits, column, no_header)
        try:
            async for part in request.stream():
                file.write(part)
            rows = await searches.run(request, file.check)
        except BaseException:
            file.close()
            raise
        headers = {"X-Rows": str(rows), "Content-Disposition": "attachment; filename=labelled.csv"}
        return StreamingResponse(file.label(), media_type="text/csv; charset=utf-8", headers=headers)

    @app.get("/health")
    async def health() -> Any:
        """Whether the server answers."""
        return {"status": "ok"}

    @app.get("/model")
    async def model() -> Any:
        """The models: classes, network, commit and metrics; and the limits of a request."""
        return {"models": [model.describe() for model in models], "limits": vars(limits)}

    def answer_error(status: int, message: str) -> Response:
        return AsciiJSONResponse({"error": escape_control_chars(message)}, status)

    @app.exception_handler(HTTPException)
    async def answer_http_error(request: Request, error: HTTPException) -> Response:
        return answer_error(error.status_code, str(error.detail))

    @app.exception_handler(InputError)
    async def answer_input_error(request: Request, error: InputError) -> Response:
        return answer_error(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def answer_invalid_request(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return answer_error(422, f"{shorten(place)}: {first['msg']}")

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    app.add_middleware(ProtectRequests, limits=limits, headers=SECURITY_HEADERS)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    return app
