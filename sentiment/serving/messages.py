"""What requests hold and answers say, as openapi.json describes it."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from sentiment.runtime.cli import escape_control_chars

MAX_NAME = 200  # characters of a word and of the name of a model, class, column or file


class AsciiJSONResponse(JSONResponse):
    """JSON in ASCII, which can hold any string, also one that is not valid Unicode."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, separators=(",", ":")).encode()


def answer_error(status: int, message: str) -> AsciiJSONResponse:
    """The answer to a request that fails."""
    return AsciiJSONResponse({"error": escape_control_chars(message)}, status)


class JSONRequest(Request):
    """A request whose body is JSON, with errors that say so."""

    async def json(self) -> Any:
        """The body.

        Raises:
            HTTPException: it is no JSON, or a key is given twice.
        """
        try:
            return json.loads(await self.body(), object_pairs_hook=_make_object)
        except UnicodeDecodeError as error:
            raise HTTPException(400, f"body: not in UTF-8 (byte {error.start})") from error
        except json.JSONDecodeError as error:
            raise HTTPException(
                400, f"body: not JSON ({error.msg}, character {error.pos})"
            ) from error
        except RecursionError as error:
            raise HTTPException(400, "body: too many levels") from error
        except ValueError as error:  # also a number of more than 4,300 digits
            raise HTTPException(400, f"body: {error}") from error


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is given twice; remove one")
    return made


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Name = Annotated[str, Field(max_length=MAX_NAME)]


def _as_list(text: Any) -> Any:
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise PydanticCustomError("text", "must be a string or a list of strings")
    return texts


class PredictRequest(_Message):
    """One text or several, for one model."""

    text: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
    model: Name | None = None


class ExplainRequest(_Message):
    """A text, for one model."""

    text: str
    model: Name | None = None
    target: Name | None = Field(None, alias="class")
    gates: bool = False


class NeighborsRequest(_Message):
    """A word, for one model."""

    word: Name
    model: Name | None = None


class ErrorAnswer(_Message):
    """Why there is no other answer, in one line."""

    error: str


class Predicted(_Message):
    """The prediction for a text."""

    label: str
    probabilities: dict[str, float]
    warning: str | None = Field(description="why the prediction means nothing, if it does")


class PredictAnswer(_Message):
    """Predictions in the order of the texts."""

    model: str
    predictions: list[Predicted]


class ExplainedToken(_Message):
    """A token that the network reads."""

    token: str
    in_vocabulary: bool
    attribution: float
    probability: float | None = Field(
        description="of the class, after this token; null if it was not computed"
    )


class CutTokens(_Message):
    """Tokens that the network does not read."""

    before: list[str]
    after: list[str]


class HeatMap(_Message):
    """Values of the units, a row each, at the tokens: signed bytes in base64, of which 127 stands for `scale`."""

    scale: float
    data: str


class ExplainedLayer(_Message):
    """Gates and state of one layer and direction."""

    name: str
    state_name: str
    units: int
    values: dict[str, HeatMap]


class ExplainAnswer(Predicted):
    """The explanation of a prediction: `baseline`, attributions and `padding` add up to `log_odds`."""

    model: str
    target: str = Field(alias="class", description="that is explained")
    tokens: list[ExplainedToken]
    cut: CutTokens
    log_odds: float
    baseline: float
    padding: float
    convergence_delta: float
    converged: bool
    layers: list[ExplainedLayer] = Field(description="empty unless gates are wanted")


class Neighbor(_Message):
    """A word near another one."""

    word: str
    cosine: float
    polarity: dict[str, float] = Field(description="how far the word alone moves the logits")


class NeighborsAnswer(_Message):
    """The word itself, and its nearest neighbors."""

    model: str
    neighbors: list[Neighbor]


class Review(_Message):
    """A text of a test set, and the prediction for it."""

    file: str | None = None
    row: int
    id: str | None = None
    text: str
    label: str
    predicted: str
    probabilities: dict[str, float]


class ReviewsAnswer(_Message):
    """Some of the texts that were found."""

    total: int
    reviews: list[Review]


class Example(Review):
    """A text, and why it is worth a look."""

    reason: str


class HealthAnswer(_Message):
    """Whether the server answers."""

    status: str


class ModelDescription(_Message):
    """What a model is."""

    name: str
    classes: list[str]
    network: str
    parameters: int
    tokenizer: str
    vocabulary: int
    maxlen: int
    commit: str | None
    metrics: dict[str, float]
    has_test_set: bool
    changed: bool = Field(
        description="whether the files of its run were changed after they were read"
    )


class LimitsDescription(_Message):
    """What one request may hold."""

    max_texts: int
    max_characters: int
    max_megabytes: int
    max_rows: int


class ModelsAnswer(_Message):
    """All models, the first of which answers requests that name none."""

    models: list[ModelDescription]
    limits: LimitsDescription
