"""Serve trained models: a page to talk to them, and JSON for programs.

python -m sentiment.serve outputs/runs/2026-01-31_12-00-00            # then open http://127.0.0.1:8000
python -m sentiment.serve RUN RUN2 --port 8080
curl http://127.0.0.1:8000/predict --json '{"text": "A slow start, but what an ending!"}'

The server listens on this machine only, unless --host says otherwise; it has neither passwords nor encryption,
which are the work of a proxy. Pages of other sites cannot use it. GET /openapi.json describes the addresses.
"""

import ipaddress
import logging
import socket
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from sentiment.runtime.cli import UNSURE_HELP, CommandParser
from sentiment.runtime.errors import InputError, check_at_least, check_probability

LIMITS = {  # of a request
    "max_texts": (1000, "texts of a request"),
    "max_characters": (100_000, "characters of a text"),
    "max_megabytes": (20, "megabytes of a request"),
    "max_rows": (100_000, "rows of a file"),
}


def run(arguments: Namespace) -> None:
    limits = {name: getattr(arguments, name) for name in LIMITS}
    check_at_least(1, **{_flag(name): value for name, value in limits.items()})
    check_probability(**{"--min-probability": arguments.min_probability})
    listener = listen(arguments.host, arguments.port)

    import uvicorn

    from sentiment.serving.app import make_app
    from sentiment.serving.limits import Connection, Limits
    from sentiment.serving.served_model import ServedModel

    models = [
        ServedModel(name, path, arguments.trust, arguments.min_probability)
        for name, path in name_models(arguments.checkpoint).items()
    ]
    names = {"localhost", socket.gethostname(), arguments.host, *arguments.allow_host}
    app = make_app(models, Limits(**limits), {name.lower() for name in names})
    url, warning = describe_address(*listener.getsockname()[:2])
    if warning:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    print(f"{url} (Ctrl-C ends it)", flush=True)
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.exc_info is not None)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listener])


def describe_address(host: str, port: int) -> tuple[str, str]:
    """A URL that reaches an address of this machine, and what to warn of if others reach it, too."""
    address = ipaddress.ip_address(host)
    any_address = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    name = any_address.get(host, host)
    url = f"http://{f'[{name}]' if ':' in name else name}:{port}"
    if address.is_loopback:
        return url, ""
    called = f"http://{socket.gethostname()}:{port}" if host in any_address else url
    can = "can use the models and read their test sets, without a password"
    return url, f"--host {host}: whoever reaches this machine, as {called} or otherwise, {can}"


def listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError, TypeError, UnicodeError) as error:
        problem = f"cannot listen there ({getattr(error, 'strerror', None) or error})"
        raise InputError(f"--host {host} --port {port}: {problem}; choose another port") from error
    # Or a body waits 40 ms for the head to be received.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def name_models(paths: Sequence[Path]) -> dict[str, Path]:
    """Different models by name, the last parts of their paths by which they differ."""
    given = {path.resolve(): path for path in paths}
    length = 1
    while len({path.parts[-length:] for path in given}) < len(given):
        length += 1
    return {"/".join(resolved.parts[-length:]): path for resolved, path in given.items()}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def main() -> None:
    host = "address to listen at (default: 127.0.0.1, this machine only)"
    allowed = "name by which the server may be called, besides localhost and that of the machine; may be repeated"
    parser = CommandParser("serve", __doc__)
    parser.add_checkpoint(nargs="+")
    parser.add_argument("--host", default="127.0.0.1", help=host)
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0: a free one")
    for name, (value, what) in LIMITS.items():
        text = f"{what} (default: {value:,})"
        parser.add_argument(_flag(name), type=int, default=value, metavar="N", help=text)
    add = parser.add_argument
    add("--min-probability", type=float, default=0.0, metavar="P", help=UNSURE_HELP)
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=allowed)
    parser.run(run)


if __name__ == "__main__":
    main()
