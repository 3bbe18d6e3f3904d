"""Connections to the storage of a study, which may be locked or away for a while."""

import logging
import threading
import time
from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import Engine, event, make_url
from sqlalchemy.pool import NullPool

from sentiment.runtime.errors import one_line

PATIENCE = 60.0  # seconds for which a storage may be away

log = logging.getLogger(__name__)


def connect(url: str, kind: type[RDBStorage] = RDBStorage, **options: Any) -> RDBStorage:
    """A storage whose connections the main thread tries to open for `PATIENCE` seconds."""
    engine: dict[str, Any] = {"poolclass": NullPool}  # a kept connection may be lost meanwhile
    if make_url(url).get_backend_name() == "sqlite":
        engine["connect_args"] = {"timeout": PATIENCE}
    storage = kind(url, engine_kwargs=engine, **options)
    _wait_for_connections(storage.engine)
    return storage


def _wait_for_connections(engine: Engine) -> None:
    away_since: float | None = None

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        nonlocal away_since
        is_main = threading.current_thread() is threading.main_thread()
        while True:
            try:
                connection = dialect.connect(*arguments, **options)
                away_since = None
                return connection
            except dialect.loaded_dbapi.OperationalError as error:
                now = time.monotonic()
                if is_main and away_since is None:
                    away_since = now
                    message = "tune.storage: %s; trying again for %.0f seconds"
                    log.warning(message, one_line(error), PATIENCE)
                if not is_main or now - (away_since or now) > PATIENCE:
                    raise
                time.sleep(1)
