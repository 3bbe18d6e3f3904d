"""Requests per second and latency of `serve`, beside one call of `predict` per request in the same framework.

python -m tests.benchmarks.serving RUN [REQUESTS]

Clients send a review each, wait for the answer and send the next, over connections that they keep. Memory is that of
the server's process before and after all requests.
"""

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

CLIENTS = (1, 16, 200)
PLAIN = """
import sys
import fastapi, pydantic, uvicorn
from sentiment import load
model, app = load(sys.argv[1]), fastapi.FastAPI()
class Request(pydantic.BaseModel):
    text: str
@app.post("/predict")
def predict(body: Request):
    return {"predictions": [p._asdict() for p in model.predict([body.text])]}
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""


async def request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> bytes:
    """Send one request to `/predict` and return the body of the answer."""
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    length = re.search(rb"content-length: (\d+)", answer)
    assert length
    return await reader.readexactly(int(length[1]))


async def load_test(port: int, bodies: list[bytes], clients: int, count: int) -> list[float]:
    """Seconds of each of `count` requests."""
    seconds: list[float] = []

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for i in range(number, count, clients):
            start = time.perf_counter()
            await request(reader, writer, bodies[i % len(bodies)])
            seconds.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    return seconds


def resident_megabytes(process: int) -> float:
    """Memory of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1000


def wait_until_ready(port: int, body: bytes) -> None:
    """Wait until a server answers."""
    while True:
        try:
            asyncio.run(load_test(port, [body], 1, 20))
            return
        except OSError:
            time.sleep(0.1)


def main() -> None:
    """Print a table."""
    run, count = sys.argv[1], int([*sys.argv, "2000"][2])
    texts = pd.read_csv(Path(run) / "test_predictions.csv", usecols=["text"], nrows=2000)["text"]
    bodies = [json.dumps({"text": text}).encode() for text in texts]
    servers = {
        "serve": ["-m", "sentiment.serve", run, "--port"],
        "predict per request": ["-c", PLAIN, run],
    }
    print(
        f"{'server':<20} {'clients':>8} {'requests/s':>11} {'p50 ms':>8} {'p99 ms':>8} {'MB before':>10} {'after':>7}"
    )
    for port, (name, command) in enumerate(servers.items(), 8701):
        with subprocess.Popen(
            [sys.executable, *command, str(port)], stdout=subprocess.DEVNULL
        ) as process:
            wait_until_ready(port, bodies[0])
            for clients in CLIENTS:
                before, start = resident_megabytes(process.pid), time.perf_counter()
                seconds = asyncio.run(load_test(port, bodies, clients, count))
                rate = count / (time.perf_counter() - start)
                p50, p99 = 1000 * np.percentile(seconds, [50, 99])
                after = resident_megabytes(process.pid)
                print(
                    f"{name:<20} {clients:>8} {rate:>11.0f} {p50:>8.1f} {p99:>8.1f} {before:>10.0f} {after:>7.0f}",
                    flush=True,
                )
            process.terminate()


if __name__ == "__main__":
    main()
