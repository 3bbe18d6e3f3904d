"""What requests hold and answers say, as openapi.json describes it."""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import one_line

MAX_NAME = 200  # characters of a word and of the name of a model, class, column or file
MAX_KEYS = 100  # of an object; each unknown one is worth a message of pydantic's


class AsciiJSONResponse(JSONResponse):
    """JSON in ASCII, which can hold any string, also one that is not valid Unicode."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()


def answer_error(status: int, message: str) -> AsciiJSONResponse:
    """The answer to a request that fails."""
    return AsciiJSONResponse({"error": escape_control_chars(message)}, status)


class JSONRequest(Request):
    """A request whose body is JSON, in which no key is given twice and few keys are given."""

    async def json(self) -> Any:
        try:
            return json.loads(await self.body(), object_pairs_hook=_make_object)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"body: not JSON ({one_line(error)})") from error


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs) or len(made) > MAX_KEYS:
        raise ValueError(f"an object has a key twice, or more than {MAX_KEYS} keys")
    return made


class JSONRoute(APIRoute):
    """A route that reads JSON as `JSONRequest` does, and no other body."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if self.body_field and kind != "application/json":
                raise HTTPException(415, "send Content-Type: application/json")
            return await handler(JSONRequest(request.scope, request.receive))

        return answer


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Name = Annotated[str, Field(max_length=MAX_NAME)]


class PredictRequest(_Message):
    text: str | Annotated[list[str], Field(fail_fast=True)]
    model: Name | None = None


class ExplainRequest(_Message):
    text: str
    model: Name | None = None
    target: Name | None = Field(None, alias="class")
    gates: bool = False
    quick: bool = Field(False, description="whether an estimate is enough")


class ChangesRequest(_Message):
    text: str
    model: Name | None = None
    target: Name = Field(alias="class")


class NeighborsRequest(_Message):
    word: Name
    model: Name | None = None


class ErrorAnswer(_Message):
    error: str = Field(description="one line")


class Predicted(_Message):
    label: str
    probabilities: dict[str, float]
    warning: str | None = Field(description="why the prediction means nothing, if it does")


class PredictAnswer(_Message):
    model: str
    predictions: list[Predicted] = Field(description="in the order of the texts")


class ExplainedToken(_Message):
    token: str
    in_vocabulary: bool
    attribution: float
    probability: float | None = Field(description="of the class, after this token, if computed")


class HeatMap(_Message):
    """Values of the units, a row each, at the tokens: signed bytes in base64."""

    scale: float = Field(description="the value of 127")
    data: str


class ExplainedLayer(_Message):
    name: str
    state_name: str
    units: int
    values: dict[str, HeatMap]


class ExplainAnswer(Predicted):
    """The explanation of a prediction: `baseline`, attributions and `padding` add up to `log_odds`."""

    model: str
    target: str = Field(alias="class", description="that is explained")
    tokens: list[ExplainedToken] = Field(description="that the network reads")
    cut: dict[str, list[str]] = Field(description="tokens `before` and `after` that are not read")
    log_odds: float
    baseline: float
    padding: float
    convergence_delta: float
    converged: bool
    layers: list[ExplainedLayer] = Field(description="empty unless gates are wanted")


class Change(_Message):
    position: int = Field(description="of the word among the tokens that the network reads")
    word: str | None = Field(description="in its place; null if it is left out")
    label: str
    probability: float
    log_odds: float


class ChangesAnswer(_Message):
    model: str
    target: str = Field(alias="class", description="whose probability and log-odds are given")
    changes: list[Change] = Field(description="the largest effects first")


class Neighbor(_Message):
    word: str
    cosine: float
    polarity: dict[str, float] = Field(description="how far the word alone moves the logits")


class NeighborsAnswer(_Message):
    model: str
    neighbors: list[Neighbor] = Field(description="the first is the word itself")


class Review(_Message):
    file: str | None = None
    row: int
    id: str | None = None
    text: str
    label: str
    predicted: str
    probabilities: dict[str, float]


class ReviewsAnswer(_Message):
    total: int = Field(description="number of texts that were found")
    size: int = Field(description="of the test set")
    correct: int = Field(description="of those that were found")
    confusion: dict[str, dict[str, int]] = Field(description="their number by class and prediction")
    reviews: list[Review]


class ModelDescription(_Message):
    name: str
    classes: list[str]
    network: str
    parameters: int
    tokenizer: str
    vocabulary: int
    maxlen: int
    data: str
    folder: str
    commit: str | None
    metrics: dict[str, float]
    has_test_set: bool
    changed: bool = Field(description="whether the files of its run changed and cannot be read")


class ModelsAnswer(_Message):
    models: list[ModelDescription] = Field(description="the first answers requests that name none")
    limits: dict[str, int] = Field(description="of one request")
