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

from sentiment.runtime.cli import CommandParser
from sentiment.runtime.errors import InputError, check_at_least

LIMITS = ("max_texts", "max_characters", "max_megabytes", "max_rows")


def run(arguments: Namespace) -> None:
    """Load the models and answer requests until Ctrl-C."""
    limits = {name: getattr(arguments, name) for name in LIMITS}
    for name, value in limits.items():
        check_at_least(1, **{f"--{name.replace('_', '-')}": value})
    listener = listen(arguments.host, arguments.port)
    try:
        import uvicorn

        from sentiment.serving.app import make_app
        from sentiment.serving.connections import Connection
    except ImportError as error:
        raise InputError(
            f"serve needs {error.name}; install it: pip install fastapi uvicorn"
        ) from error
    from sentiment.serving.limits import Limits
    from sentiment.serving.served_model import ServedModel

    models = [
        ServedModel(name, path, arguments.trust)
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
    name = (
        "127.0.0.1"
        if host == "0.0.0.0"
        else "[::1]"
        if host == "::"
        else f"[{host}]"
        if ":" in host
        else host
    )
    if address.is_loopback:
        return f"http://{name}:{port}", ""
    called = socket.gethostname() if address.is_unspecified else name
    return f"http://{name}:{port}", (
        f"--host {host}: whoever reaches this machine, as http://{called}:{port} or otherwise, can use the models and "
        "read their test sets, without a password"
    )


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address.

    Raises:
        InputError: it is taken or not of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError, TypeError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--host {host} --port {port}: cannot listen there ({reason}); choose another port"
        ) from error
    listener.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )  # or a body waits 40 ms for the head to be received
    return listener


def name_models(paths: Sequence[Path]) -> dict[str, Path]:
    """Names of models, the last parts of their paths by which they differ, and their paths.

    Raises:
        InputError: a model is given twice.
    """
    resolved = [path.resolve() for path in paths]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise InputError(f"{path}: is given twice; remove one")
    length = 1
    while len({path.parts[-length:] for path in resolved}) < len(resolved):
        length += 1
    return {
        "/".join(path.parts[-length:]): given for path, given in zip(resolved, paths, strict=True)
    }


def main() -> None:
    """Parse the command line and run the command."""
    parser = CommandParser("serve", __doc__)
    parser.add_argument("checkpoint", type=Path, nargs="+", help="run directory or checkpoint")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen at (default: 127.0.0.1, this machine only)",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="(default: 8000; 0 chooses a free one)"
    )
    parser.add_argument(
        "--max-texts",
        type=int,
        default=1000,
        metavar="N",
        help="texts of a request (default: 1000)",
    )
    parser.add_argument(
        "--max-characters",
        type=int,
        default=100_000,
        metavar="N",
        help="characters of a text (default: 100,000)",
    )
    parser.add_argument(
        "--max-megabytes",
        type=int,
        default=20,
        metavar="N",
        help="megabytes of a request (default: 20)",
    )
    parser.add_argument(
        "--max-rows",
        type=int,
        default=100_000,
        metavar="N",
        help="rows of a file (default: 100,000)",
    )
    allow_host = "name by which the server may be called, besides localhost and that of the machine; may be repeated"
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help=allow_host
    )
    parser.add_trust()
    parser.run(run)


if __name__ == "__main__":
    main()
