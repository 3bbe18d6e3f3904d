import asyncio
import base64
import gc
import gzip
import io
import json
import re
import shutil
import signal
import socket
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install '.[serve]'")
pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install '.[serve]'")
from fastapi.testclient import TestClient

from sentiment.classifier import load
from sentiment.runtime.errors import InputError
from sentiment.serve import describe_address, listen, name_models
from sentiment.serving.app import make_app
from sentiment.serving.labelling import FileToLabel, keep_file
from sentiment.serving.limits import Limits
from sentiment.serving.scheduling import MAX_BATCH, MAX_SHARE, Batcher
from sentiment.serving.served_model import ServedModel
from tests.helpers import FRAGMENTS, background, command, peak_memory, read_metrics

LIMITS = Limits(max_texts=40, max_characters=2000, max_megabytes=1, max_rows=2000)
NO_TEXT = "text.str: Input should be a valid string; text.list[str]"
TEXTS = [
    "a convincing film",
    "",
    "boring and dull",
    "电影",
    "\ud800",
    "<script>alert(1)</script>",
    "not good " * 100,
]


@pytest.fixture(scope="module")
def client(run: Path, masked_run: Path) -> Iterator[TestClient]:
    models = [ServedModel("first", run), ServedModel("second", masked_run)]
    app = make_app(models, LIMITS, {"testserver"})
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def error_of(response: Any) -> str:
    """The error of an answer, which has to be one line."""
    body = response.json()
    assert list(body) == ["error"]
    assert "\n" not in body["error"]
    return str(body["error"])


def test_predictions_are_those_of_predict(client: TestClient, run: Path, masked_run: Path) -> None:
    for name, path in (("first", run), ("second", masked_run)):
        body = json.dumps({"text": TEXTS, "model": name})
        answer = client.post(
            "/predict", content=body, headers={"Content-Type": "application/json"}
        ).json()
        assert answer["model"] == name
        for prediction, expected in zip(
            answer["predictions"], load(path).predict(TEXTS), strict=True
        ):
            assert prediction["label"] == expected.label
            assert prediction["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)


def test_two_hundred_clients_at_once_get_the_predictions_of_predict(
    client: TestClient, run: Path
) -> None:
    words, random = ["not", "a", "good", "bad", "dull", "fine", "film", "电影"], Random(1)
    texts = [" ".join(random.choices(words, k=random.randrange(40))) for _ in range(1000)]
    expected = [prediction.probabilities["good"] for prediction in load(run).predict(texts)]

    def send(text: str) -> float:
        answer = client.post("/predict", json={"text": text}).json()
        return float(answer["predictions"][0]["probabilities"]["good"])

    with ThreadPoolExecutor(200) as clients:
        assert [*clients.map(send, texts)] == pytest.approx(expected, abs=1e-6)


def test_one_text_is_for_the_first_model(client: TestClient) -> None:
    answer = client.post("/predict", json={"text": "boring"}).json()
    assert answer["model"] == "first"
    assert len(answer["predictions"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/predict", {"text": ["x"] * 41}, 413, "text: more than 40 texts, the limit of this"),
        ("/predict", {"text": "x" * 2001}, 413, "text: more than 2,000 characters, the limit"),
        ("/explain", {"text": "x" * 2001}, 413, "text: more than 2,000 characters, the limit"),
        ("/predict", {"text": "x", "model": "3"}, 400, "model=3: must be one of first, second"),
        ("/predict", {"text": 3}, 422, f"{NO_TEXT}: Input should be a valid list"),
        ("/predict", {"text": None}, 422, f"{NO_TEXT}: Input should be a valid list"),
        ("/predict", {"text": ["a", None]}, 422, f"{NO_TEXT}.1: Input should be a valid string"),
        ("/predict", {}, 422, "text: Field required"),
        ("/predict", {"text": "x", "txt": "y"}, 422, "txt: Extra inputs are not permitted"),
        (
            "/predict",
            [],
            422,
            "body: Input should be a valid dictionary or object to extract fields from",
        ),
        ("/explain", {"text": "x", "class": "ugly"}, 400, "class=ugly: must be one of bad, good"),
        ("/neighbors", {"word": "xyzzy"}, 400, "'xyzzy': not in the vocabulary of"),
        ("/nothing", {}, 404, "Not Found"),
    ],
)
def test_errors_are_one_line(
    client: TestClient, path: str, body: Any, status: int, message: str
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == status
    assert error_of(response).startswith(message)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"text": NaN}', b'{"text": "\\u0000"}']
)
def test_malformed_bodies_are_no_server_error(client: TestClient, body: bytes) -> None:
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code < 500
    if response.status_code >= 400:
        error_of(response)


def test_large_bodies_are_refused_by_their_length_and_by_what_arrives(client: TestClient) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 100_000

    for content in (b" " * 1_000_001, parts()):
        response = client.post(
            "/predict", content=content, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 413
        assert error_of(response) == "body: more than 1,000,000 bytes, the limit of this server"


def test_other_hosts_are_refused(client: TestClient) -> None:
    assert client.get("/health", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://of.a.proxy"}, 200),
        ({"Origin": "http://testserver"}, 200),
        ({}, 200),
    ],
)
def test_other_sites_cannot_make_it_compute(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.post("/predict", json={"text": "x"}, headers=headers).status_code == status
    assert (
        client.post("/label?name=a.csv", content=b"text\nx\n", headers=headers).status_code
        == status
    )
    assert client.get("/reviews", headers=headers).status_code == status
    assert client.get("/", headers=headers).status_code == 200  # a link to the page


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1:80", 200), ("[::1]", 200), ("10.0.0.7:80", 200), ("[", 400)]
)
def test_addresses_are_hosts(client: TestClient, host: str, status: int) -> None:
    response = client.get("/health", headers={"Host": host})
    assert response.status_code == status
    assert response.headers["x-content-type-options"] == "nosniff"


def test_wrong_methods_and_types_are_named(client: TestClient) -> None:
    response = client.get("/predict")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert client.head("/health").status_code == client.head("/").status_code == 200
    response = client.post(
        "/predict", content=b'{"text": "x"}', headers={"Content-Type": "text/plain"}
    )
    assert (response.status_code, error_of(response)) == (
        415,
        "send Content-Type: application/json",
    )
    assert client.get("/" + "x" * 9000).status_code == 414


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"text": "a", "text": "b"}', "body: not JSON (an object has a key twice"),
        (json.dumps(dict.fromkeys(map(str, range(101)))).encode(), "body: not JSON (an object has"),
        (b"{", "body: not JSON (Expecting property name"),
        (
            b'{"text": "\xe9"}',
            "body: not JSON ('utf-8' codec can't decode byte 0xe9 in position 10",
        ),
        (b"[" * 100_000, "body: not JSON (maximum recursion depth exceeded"),
    ],
)
def test_bodies_that_are_not_json_say_why(client: TestClient, body: bytes, message: str) -> None:
    response = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert error_of(response).startswith(message)


def test_names_are_short(client: TestClient) -> None:
    long = "x" * 201
    for path, body in (
        ("predict", {"text": "x"}),
        ("explain", {"text": "x"}),
        ("neighbors", {"word": "x"}),
    ):
        for key in ("model", "class", "word"):
            if key == "model" or (path, key) in (("explain", "class"), ("neighbors", "word")):
                assert client.post(f"/{path}", json=body | {key: long}).status_code == 422
    for query in ("reviews?label=", "reviews?predicted=", "reviews?model="):
        assert client.get(f"/{query}{long}").status_code == 422
    assert client.post(f"/label?name=a.csv&column={long}").status_code == 422


def test_texts_that_say_nothing_are_warned_of(client: TestClient) -> None:
    answer = client.post("/predict", json={"text": ["", " ", "xyzzy", "good"]}).json()
    warnings = [prediction["warning"] for prediction in answer["predictions"]]
    assert [warning and warning.split(";")[0] for warning in warnings] == [
        "the text is empty",
        "the text is empty",
        "no token is in the vocabulary",
        None,
    ]
    assert client.post("/explain", json={"text": ""}).json()["warning"] == warnings[0]


def test_answers_are_as_openapi_describes_them(client: TestClient) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    described = client.get("/openapi.json").json()
    bodies = {
        "/predict": {"text": ["good", ""]},
        "/explain": {"text": "a good film", "gates": True, "class": "bad"},
        "/neighbors": {"word": "good"},
        "/changes": {"text": "a good film", "class": "bad"},
    }
    assert not any("ValidationError" in name for name in described["components"]["schemas"])
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if path == "/label":
                assert [*operation["requestBody"]["content"]] == ["application/octet-stream"]
                assert [*operation["responses"]["200"]["content"]] == ["text/csv"]
                continue
            bad = {"json": {"x": 1}} if method == "post" else {"params": {"count": 0, "order": "x"}}
            for sent in ({"json": bodies[path]} if path in bodies else {}, bad):
                response = getattr(client, method)(path, **sent)
                content = operation["responses"][str(response.status_code)]["content"][
                    "application/json"
                ]
                jsonschema.validate(
                    response.json(), {**content["schema"], "components": described["components"]}
                )


def make_parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


BOMBS = {
    "texts.parquet": make_parquet(text=["x" * 100_000] * 1024),
    "other.parquet": make_parquet(text=["x"] * 1000, other=[{"b": ["y" * 100_000]}] * 1000),
    "list.parquet": make_parquet(
        text=["x"], other=pa.array([[None] * 20_000_000], pa.list_(pa.int64()))
    ),
    "rows.parquet": make_parquet(text=["x"] * 2_000_000),
    "zeros.csv.gz": gzip.compress(b"text\n" + bytes(100_000_000)),
    "objects.json": b"[" + b"{}," * 200_000 + b"[" * 100_000 + b"," * 100_000,
    "lists.jsonl": b'{"text": "x", "other": [' + b"[]," * 330_000 + b"[]]}",
    "rows.txt": b"x\n" * 400_000,
    "line.csv.gz": gzip.compress(b"text\n" + b"," * 4_000_000),
    "lines.csv.gz": gzip.compress(b"text\n" + b'"\n\n",\n' * 200_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_cannot_hide_large_ones(
    client: TestClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentiment.serving.unpacking.MAX_VALUES", 100_000)
    client.post("/label?name=a.parquet", content=make_parquet(text=["x"]))  # imports
    responses: list[Any] = []
    used = peak_memory(
        lambda: responses.append(client.post(f"/label?name={name}", content=BOMBS[name]))
    )
    assert responses[0].status_code == 413
    assert error_of(responses[0]).startswith(f"{name}: ")
    assert used < 100  # MB


def check(file: FileToLabel) -> None:
    with suppress(InputError, OSError, ValueError):
        file.check(lambda: None)


def test_a_file_whose_client_has_left_keeps_no_thread_busy(run: Path) -> None:
    limits = Limits(max_texts=1, max_characters=2000, max_megabytes=100, max_rows=2_000_000)
    with keep_file("rows.csv", ServedModel("run", run), limits, None, False) as file:
        file.write(b"text\n" + b"x\n" * 1_500_000)
        thread = Thread(target=check, args=(file,))
        thread.start()
        time.sleep(0.3)
    start = time.monotonic()
    thread.join()
    assert time.monotonic() - start < 0.5


def test_compressed_files_are_unpacked_once(client: TestClient) -> None:
    packed = gzip.compress(b'text\ngood\n""\n')
    response = client.post("/label?name=a.csv.gz", content=packed)
    assert (response.headers["X-Rows"], response.headers["X-Empty"]) == ("2", "1")
    response = client.post("/label?name=a.csv.gz", content=gzip.compress(packed))
    assert error_of(response) == "a.csv.gz: is compressed twice; unpack it once"


def test_explanation_has_the_tokens_gates_and_what_is_cut(client: TestClient, run: Path) -> None:
    text = "xyzzy " * 40 + "not good"
    answer = client.post("/explain", json={"text": text, "gates": True}).json()
    maxlen = load(run).encoder.maxlen
    assert len(answer["tokens"]) == maxlen
    assert len(answer["cut"]["before"]) == 42 - maxlen
    assert [token["token"] for token in answer["tokens"][-2:]] == ["not", "good"]
    assert not answer["tokens"][0]["in_vocabulary"]
    (layer,) = answer["layers"]
    assert set(layer["values"]) == {"input", "forget", "output", "cell state"}
    assert layer["units"] == 6
    assert {len(base64.b64decode(part["data"])) for part in layer["values"].values()} == {
        6 * maxlen
    }
    total = (
        answer["baseline"]
        + sum(token["attribution"] for token in answer["tokens"])
        + answer["padding"]
    )
    assert total + answer["convergence_delta"] == pytest.approx(answer["log_odds"], abs=1e-4)
    assert client.post("/explain", json={"text": text}).json()["layers"] == []


def test_neighbors_start_with_the_word(client: TestClient) -> None:
    first, *others = client.post("/neighbors", json={"word": "Good"}).json()["neighbors"]
    assert (first["word"], first["cosine"]) == ("good", 1.0)
    assert others


def test_test_set_is_searched_and_sorted(client: TestClient, run: Path) -> None:
    frame = pd.read_csv(run / "test_predictions.csv", keep_default_na=False)
    answer = client.get("/reviews", params={"order": "row", "count": 100}).json()
    assert answer["total"] == len(frame)
    assert [review["text"] for review in answer["reviews"]] == frame["text"].tolist()
    wrong = client.get("/reviews", params={"label": "bad", "predicted": "good"}).json()
    assert wrong["total"] == ((frame["label"] == "bad") & (frame["predicted"] == "good")).sum()
    p = [
        review["probabilities"][review["label"]]
        for review in client.get("/reviews").json()["reviews"]
    ]
    assert p == sorted(p)
    sure = [
        max(r["probabilities"].values())
        for r in client.get("/reviews?order=least sure").json()["reviews"]
    ]
    assert sure == sorted(sure)
    word = frame["text"][0].split()[1]
    found = client.get("/reviews", params={"search": word.upper(), "start": 1}).json()
    assert found["total"] == frame["text"].str.lower().str.contains(word.lower(), regex=False).sum()
    assert len(found["reviews"]) == min(25, found["total"] - 1)
    longest = client.get("/reviews", params={"order": "length", "reverse": True, "count": 1}).json()
    assert len(longest["reviews"][0]["text"]) == frame["text"].str.len().max()
    assert error_of(client.get("/reviews?label=ugly")) == "label=ugly: must be one of bad, good"
    assert error_of(client.get("/reviews?count=1000")).startswith("count: ")


def test_test_set_has_figures_of_what_is_found(client: TestClient, run: Path) -> None:
    frame = pd.read_csv(run / "test_predictions.csv", keep_default_na=False)
    found = frame[frame["label"] == "good"]
    answer = client.get("/reviews?label=good").json()
    assert (answer["total"], answer["size"]) == (len(found), len(frame))
    assert answer["correct"] == (found["predicted"] == "good").sum()
    assert answer["confusion"] == {"good": found["predicted"].value_counts().to_dict()}
    answer = client.get("/reviews?wrong=true").json()
    assert answer["total"] == (frame["label"] != frame["predicted"]).sum()
    assert answer["correct"] == 0


def test_quick_explanation_is_an_estimate_of_the_exact_one(client: TestClient) -> None:
    body = {"text": "a good film that is not dull"}
    exact = client.post("/explain", json=body).json()
    quick = client.post("/explain", json=body | {"quick": True}).json()
    for token, expected in zip(quick["tokens"], exact["tokens"], strict=True):
        assert token["attribution"] == pytest.approx(expected["attribution"], abs=0.02)
    assert [token["probability"] for token in quick["tokens"][:-1]] == [None] * 6
    assert quick["tokens"][-1]["probability"] == pytest.approx(exact["tokens"][-1]["probability"])


@pytest.mark.parametrize("model", ["first", "second"])
def test_changes_have_the_predictions_for_the_changed_texts(client: TestClient, model: str) -> None:
    words = ["boring", "xyzzy"] * 30 + ["a", "good", "film"]  # more than are read
    body = {"text": " ".join(words), "model": model}
    before = client.post("/explain", json=body | {"class": "good"}).json()
    changes = client.post("/changes", json=body | {"class": "good"}).json()["changes"]
    effects = [abs(change["log_odds"] - before["log_odds"]) for change in changes]
    assert effects == sorted(effects, reverse=True)
    read = len(before["tokens"])
    removed = [change["position"] for change in changes if change["word"] is None]
    assert sorted(removed) == [*range(read)]
    for change in changes[:10]:
        place = len(before["cut"]["before"]) + change["position"]
        assert words[place] != change["word"]
        text = [*words[:place], change["word"] or "", *words[place + 1 :]]
        sent = {"text": " ".join(text), "model": model}
        (expected,) = client.post("/predict", json=sent).json()["predictions"]
        assert change["label"] == expected["label"]
        assert change["probability"] == pytest.approx(expected["probabilities"]["good"], abs=1e-5)
    assert client.post("/changes", json={"text": "", "class": "good"}).json()["changes"] == []
    response = client.post("/changes", json={"text": "x", "class": "ugly"})
    assert error_of(response) == "class=ugly: must be one of bad, good"


def test_file_comes_back_with_a_prediction_for_each_row(client: TestClient, run: Path) -> None:
    rows = 1500
    frame = pd.DataFrame({"n": range(rows), "text": ["=1+1", "good, and\nmore"] * (rows // 2)})
    response = client.post(
        "/label?name=../../etc/reviews.csv", content=frame.to_csv(index=False).encode()
    )
    assert response.headers["X-Rows"] == str(rows)
    labelled = pd.read_csv(io.StringIO(response.text))
    assert labelled["n"].tolist() == list(range(rows))
    assert labelled["text"][0] == "'=1+1"
    expected = load(run).predict(["=1+1", "good, and\nmore"])
    assert labelled["label"].tolist() == [prediction.label for prediction in expected] * (rows // 2)


@pytest.mark.parametrize(
    ("name", "content", "status", "message"),
    [
        ("r.exe", b"x", 400, "r.exe: unknown format .exe; use .csv"),
        ("r.csv/..", b"x", 400, "r.csv/..: unknown format (no suffix); use .csv"),
        ("r.csv", b"a,b\n1,2\n", 400, "column=text: no such column in r.csv; it has a, b"),
        ("r.csv", b"", 400, "r.csv: contains no rows"),
        ("r.csv", b"text\n" + b"x" * 2001, 413, "r.csv, row 1: more than 2,000 characters"),
        ("r.parquet", b"text\nx", 400, "r.parquet: cannot be read ("),
        ("r.csv.gz", gzip.compress(b"text\nx", mtime=0)[:-9], 400, "r.csv.gz: cannot be read ("),
        ("r.csv", b"text\n\xff\xfe\n", 400, "r.csv"),
    ],
)
def test_bad_files_are_named_without_their_place_on_the_server(
    client: TestClient, name: str, content: bytes, status: int, message: str
) -> None:
    response = client.post("/label", params={"name": name}, content=content)
    assert response.status_code == status
    assert error_of(response).startswith(message)
    assert "/tmp" not in response.text
    assert "sentiment_" not in response.text


@pytest.mark.slow
def test_ten_thousand_hostile_requests_get_an_answer_of_one_line(client: TestClient) -> None:
    random = Random(0)

    def text() -> str:
        return "".join(random.choices(FRAGMENTS, k=random.randrange(12)))

    def value() -> Any:
        return random.choice(
            [
                text(),
                text(),
                [text(), text()],
                None,
                3,
                -1.5,
                True,
                {"a": [text()]},
                [[text()]],
                "x" * 3000,
            ]
        )

    for _ in range(10_000):
        path = random.choice(
            ["predict", "predict", "predict", "explain", "neighbors", "reviews", "label", "other"]
        )
        if path == "reviews":
            keys = random.sample(
                ["model", "search", "label", "predicted", "order", "start", "count"], 2
            )
            response = client.get("/reviews", params={key: escape(value()) for key in keys})
        elif path == "label":
            name = random.choice(
                [
                    "a.csv",
                    "a.tsv",
                    "a.json",
                    "a.jsonl",
                    "a.txt",
                    "a.parquet",
                    "../a.csv",
                    escape(text()),
                ]
            )
            content = "\n".join(["text", *(text() for _ in range(3))]).encode(
                errors="surrogatepass"
            )
            response = client.post(
                "/label",
                params={"name": name, "column": random.choice(["text", "1", escape(text())])},
                content=content,
            )
        elif path == "other":
            response = client.get(f"/{quote(escape(text()), safe='/.')}")
        else:
            keys = random.sample(
                ["text", "word", "model", "class", "gates", "x"], random.randrange(4)
            )
            body = json.dumps(
                {("text", "word")[path == "neighbors"]: value()} | {key: value() for key in keys}
            )
            cut = body[: random.randrange(len(body))] if random.random() < 0.1 else body
            response = client.post(
                f"/{path}", content=cut, headers={"Content-Type": "application/json"}
            )
        assert response.status_code < 500, response.text
        assert "Traceback" not in response.text
        if response.status_code >= 400:
            error_of(response)


def escape(value: Any) -> str:
    """A value that fits into an address."""
    return str(value).encode(errors="replace").decode()


def test_page_loads_nothing_from_elsewhere(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-security-policy"].startswith("default-src 'self'")
    for name in re.findall(r'(?:src|href)="([^"]+)"', response.text):
        assert name == "data:," or client.get(f"/{name}").status_code == 200
    assert client.get("/..%2f..%2fserve.py").status_code == 404


def test_models_are_described(client: TestClient, run: Path) -> None:
    first, second = client.get("/model").json()["models"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert first["metrics"]["test/accuracy"] == metrics["test/accuracy"]
    assert (first["classes"], second["name"]) == (["bad", "good"], "second")


def test_names_are_the_parts_by_which_the_paths_differ(tmp_path: Path) -> None:
    assert [*name_models([tmp_path / "a", tmp_path / "b"])] == ["a", "b"]
    assert [*name_models([tmp_path / "s" / "1", tmp_path / "t" / "1"])] == ["s/1", "t/1"]
    assert [*name_models([tmp_path / "a", tmp_path / "b" / ".." / "a"])] == ["a"]  # once


def test_batcher_mixes_requests_and_lets_small_ones_pass_large_ones() -> None:
    batches: list[list[int]] = []

    def compute(texts: Sequence[str]) -> list[int]:
        time.sleep(0.01)
        batches.append([int(text) for text in texts])
        return batches[-1]

    async def send() -> list[str]:
        batcher, finished = Batcher(compute), []

        async def one(name: str, count: int) -> None:
            assert await batcher.submit([str(i) for i in range(count)]) == list(range(count))
            finished.append(name)

        await asyncio.gather(one("large", 20 * MAX_SHARE), *(one("small", 3) for _ in range(50)))
        return finished

    assert asyncio.run(send())[-1] == "large"
    assert max(map(len, batches)) <= MAX_BATCH
    assert len(batches) < 50


def test_batcher_passes_on_the_error_of_a_batch_and_goes_on() -> None:
    def compute(texts: Sequence[str]) -> list[str]:
        if "bad" in texts:
            raise ValueError("bad text")
        return [*texts]

    async def send() -> list[Any]:
        batcher = Batcher(compute)
        first = await asyncio.gather(
            *(batcher.submit([text]) for text in ("a", "bad")), return_exceptions=True
        )
        return [*first, await batcher.submit(["b"])]

    first, second, third = asyncio.run(send())
    assert isinstance(first, ValueError)
    assert isinstance(second, ValueError)
    assert third == ["b"]


def test_run_that_changes_is_read_again_with_its_figures(
    run: Path, masked_run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    with TestClient(make_app([ServedModel("run", folder)], LIMITS, {"testserver"})) as client:
        before = client.get("/model").json()["models"][0]
        assert not before["changed"]
        for name in ("checkpoints/best.ckpt", "metrics.json", "test_predictions.csv"):
            shutil.copy(masked_run / name, folder / name)
        assert "its run has changed" in error_of(client.get("/reviews"))
        after = client.get("/model").json()["models"][0]
        assert after["metrics"]["test/accuracy"] == read_metrics(masked_run)["test/accuracy"]
        text = "a good film"
        (answer,) = client.post("/predict", json={"text": text}).json()["predictions"]
        assert answer["probabilities"] == load(masked_run).predict([text])[0].probabilities
        assert client.get("/reviews").status_code == 200
        (folder / "checkpoints" / "best.ckpt").write_bytes(b"PK, not a checkpoint")
        assert client.get("/model").json()["models"][0] == after | {"changed": True}


def test_texts_of_the_test_set_are_those_predicted(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    frame = pd.read_csv(run / "test_predictions.csv", dtype=str, keep_default_na=False)
    frame.loc[:1, "text"] = ["'=1+1", "''=1+1"]
    frame.to_csv(folder / "test_predictions.csv", index=False)
    texts = ServedModel("run", folder).test_set.reviews["text"].tolist()
    assert texts[:2] == ["=1+1", "'=1+1"]
    assert texts[2:] == frame["text"][2:].tolist()


def test_explanation_ends_between_its_steps(run: Path) -> None:
    def check() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        ServedModel("run", run).explain("a good film", None, False, check)


@contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[tuple[str, int]]:
    """The address of a server in a process of its own; at the end it must have printed nothing more."""
    process = background(*arguments, "--port", "0", cwd=cwd, module="serve")
    try:
        assert process.stdout
        host, _, port = process.stdout.readline().split()[0].removeprefix("http://").partition(":")
        yield host, int(port)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == ""
        assert process.returncode == 130
    finally:
        process.kill()


HEAD = b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def receive(end: socket.socket) -> bytes:
    """An error, which ends in a brace."""
    answer = b""
    while not answer.endswith(b"}") and (part := end.recv(65536)):
        answer += part
    return answer


def test_waiting_clients_learn_that_the_server_ends(run: Path, tmp_path: Path) -> None:
    with serving(str(run), cwd=tmp_path) as address:
        for path in (b"/predict", b"/label?name=a.csv"):  # clients that leave
            with socket.create_connection(address) as left:
                left.sendall(b"POST " + path + HEAD + b"Content-Length: 9\r\n\r\n{")
        waiting = socket.create_connection(address)
        waiting.sendall(b"POST /label?name=a.csv" + HEAD + b"Content-Length: 9\r\n\r\ntext")
        time.sleep(1)
    with waiting:
        answer = receive(waiting)
    assert b" 503 " in answer
    assert answer.endswith(b'{"error":"the server ends"}')


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"x" * 1_000_000 + HEAD + b"\r\n", b" 400 "),
        (
            b"POST /predict"
            + HEAD
            + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b" 400 ",
        ),
        (b"POST /predict" + HEAD + b"Content-Length: " + b"9" * 20 + b"\r\n\r\n{", b" 413 "),
        (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", b" 400 "),
    ],
)
def test_hostile_heads_get_an_answer(
    server: tuple[str, int], request_: bytes, status: bytes
) -> None:
    with socket.create_connection(server, timeout=30) as end:
        end.sendall(request_)
        answer = receive(end)
    assert status in answer
    assert b'{"error":' in answer


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The address of a server."""
    with serving(str(run), cwd=tmp_path_factory.mktemp("serve")) as address:
        yield address


@pytest.mark.slow
def test_clients_that_do_not_go_on_are_left(server: tuple[str, int]) -> None:
    head, body, silent = b"GET /he", b"POST /predict" + HEAD + b"Content-Length: 9\r\n\r\n{", b""
    ends = [socket.create_connection(server, timeout=45) for _ in range(60)]
    for end, sent in zip(ends, [head, body, silent] * 20, strict=True):
        end.sendall(sent)
    for end in ends:
        with suppress(ConnectionResetError):
            assert end.recv(1) == b""
        end.close()


def test_address_is_usable_and_warned_of() -> None:
    assert describe_address("127.0.1.1", 80) == ("http://127.0.1.1:80", "")
    assert describe_address("::1", 80) == ("http://[::1]:80", "")
    url, warning = describe_address("0.0.0.0", 80)
    assert url == "http://127.0.0.1:80"
    assert warning.startswith(
        f"--host 0.0.0.0: whoever reaches this machine, as http://{socket.gethostname()}:80"
    )


@pytest.mark.parametrize("host", ["a\0b", "\udcff", "a..b", "x" * 300, "192.0.2.1"])
def test_odd_hosts_are_refused_in_one_line(host: str) -> None:
    message = ""
    with warnings.catch_warnings(action="ignore"):  # socket.create_server leaves a socket open
        try:
            listen(host, 0)
        except InputError as error:
            message = str(error)
        gc.collect()
    assert re.match(r"--host .* --port 0: cannot listen there \(", message, re.DOTALL)
    assert "\n" not in message


def test_command_names_what_is_wrong(run: Path, tmp_path: Path) -> None:
    failed = command(str(run), "--port", "99999999", cwd=tmp_path, module="serve")
    assert failed.returncode == 2
    assert "--port 99999999: cannot listen there" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_answers_are_sent_at_once() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as end,
    ):
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
