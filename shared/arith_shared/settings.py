"""Where things are: read from the environment or `.env`, once, by entry points.

Nothing configured means the compose stack of the working folder while it runs, and else embedded: SQLite,
files and a private broker under `ARITH_HOME`. What the experiment is never stands here (`specs/`), and a
setting never changes a result.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from arith_shared import stack
from arith_shared.errors import UserError

#: Bytes; the kernel's limit is 108 on Linux and 104 on macOS.
_MAX_SOCKET_PATH = 100

#: What a broker URL may begin with: Redis and Valkey over TCP, TLS and a unix socket.
_BROKERS = ("redis://", "rediss://", "redis+socket://")

_Kind = TypeVar("_Kind", bound=BaseSettings)
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Typed environment; every field is the variable `ARITH_<FIELD>`."""

    model_config = SettingsConfigDict(
        env_prefix="ARITH_", env_file=".env", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    mode: Literal["auto", "embedded", "compose"] = "auto"
    """`auto`: the URLs below, else this folder's compose stack while it runs, else embedded. `embedded`: as if
    none of the URLs were set. `compose`: this folder's stack, whether it answers or not."""
    home: Path = Path(".arith")
    """State of the embedded mode, logs and caches."""
    broker_url: SecretStr | None = None
    """Redis or Valkey, e.g. redis://:password@host:6379/0; unset = a private broker started on demand."""
    database_url: SecretStr | None = None
    """SQLAlchemy URL, e.g. postgresql+psycopg://user:password@host/arith; unset = SQLite under `home`."""
    broker_password_file: Path | None = None
    """File with the password that belongs into `broker_url`; an empty one means the default password."""
    database_password_file: Path | None = None
    """File with the password that belongs into `database_url`; an empty one means the default password."""
    artifacts: str | None = None
    """Folder or fsspec URL (s3://bucket/prefix) of models, hidden states and scores; unset = `home`/artifacts."""
    max_bytes: Annotated[int, Field(ge=0)] | None = None
    """Bytes that the artifact root is brought down to by `gc` and before each submission, by deleting the hidden
    states of finished runs, least recently used first; unset = no limit."""
    heartbeat_s: Seconds = 10.0
    """Seconds between two heartbeats of a running unit."""
    lease_s: Seconds = 60.0
    """Seconds without a heartbeat after which a unit is given to another worker."""
    tick_s: Seconds = 2.0
    """Seconds between two rounds of the reconciler."""
    resend_s: Seconds = 30.0
    """Seconds after which an unanswered message is sent again; doubles with each try, up to ten minutes."""
    retry_s: Seconds = 10.0
    """Base of the delay before a failed unit is tried again; doubles with each failure, up to ten minutes."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Compute threads per worker; unset = all usable cores, for a prober one (embedded: the cores, shared out)."""
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = None
    """Mode of torch.compile for training steps, `reduce-overhead` being CUDA graphs; unset = not compiled."""
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Port of the endpoint /metrics of this process; unset or 0 = none."""
    metrics_host: str = "127.0.0.1"
    """Address that the endpoint is bound to; 0.0.0.0 only inside a container."""
    dashboard_token: SecretStr | None = None
    """What opens the dashboard; unset = a new one at each start."""
    dashboard_token_file: Path | None = None
    """File with that token; an empty one means the default password."""
    log_format: Literal["text", "json"] = "text"
    health_dir: Path | None = None
    """Folder for the signs of life that a container's health check reads (`health.py`); unset = none."""

    @field_validator("broker_url")
    @classmethod
    def _broker_is_known(cls, url: SecretStr | None) -> SecretStr | None:
        # Celery would take a bare host name for a RabbitMQ, and wait for it.
        if url is not None and not url.get_secret_value().startswith(_BROKERS):
            raise ValueError(
                f"expected a URL that begins with {', '.join(_BROKERS[:-1])} or {_BROKERS[-1]}, "
                "e.g. redis://:password@host:6379/0"
            )
        return url

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Settings:
        if self.lease_s < 3 * self.heartbeat_s:
            raise ValueError(
                f"ARITH_LEASE_S={self.lease_s:g} is shorter than three heartbeats of {self.heartbeat_s:g} s; "
                "raise it or lower ARITH_HEARTBEAT_S"
            )
        return self

    @model_validator(mode="after")
    def _password_files_have_a_url(self) -> Settings:
        for name in ("broker", "database"):
            if getattr(self, f"{name}_password_file") is not None and getattr(self, f"{name}_url") is None:
                variable = f"ARITH_{name.upper()}"
                raise ValueError(f"{variable}_PASSWORD_FILE is set without {variable}_URL")
        return self

    @property
    def embedded(self) -> bool:
        """Whether broker and workers are ours to start."""
        return self.broker_url is None

    @property
    def reason(self) -> str:
        """Which mode this is and why, for people."""
        if self.mode == "compose":
            return (
                f"compose: the stack of {stack.FILE} here ({stack.HOST}); ARITH_MODE=embedded leaves it alone"
            )
        if not self.embedded:
            return "services: ARITH_BROKER_URL is set"
        if self.mode == "embedded":
            return "embedded: ARITH_MODE=embedded"
        why = f"no stack of {stack.FILE} answers" if stack.is_here() else "no broker is configured"
        return f"embedded: broker and workers run while a command waits ({why})"

    @cached_property
    def database(self) -> str:
        """The database's URL, secrets included: never log it."""
        if self.database_url is not None:
            return _complete(self.database_url, self.database_password_file)
        return f"sqlite:///{(self.home / 'arith.db').absolute()}"

    @property
    def sees_artifacts(self) -> bool:
        """Whether this machine can read the artifacts: those of a compose stack may lie in a volume of Docker's."""
        return self.artifacts is not None or self.mode != "compose"

    @property
    def artifact_root(self) -> str:
        """The artifact root as a folder or URL; raises UserError where it cannot be seen from here."""
        if not self.sees_artifacts:
            raise UserError(
                "the stack keeps its artifacts in a Docker volume, which this command cannot read: run it there, as "
                "`docker compose run --rm cli arithctl ...`, or keep them in a folder (`make env` before the "
                "first up)"
            )
        return self.artifacts or str((self.home / "artifacts").absolute())

    @property
    def broker_socket(self) -> Path:
        """The unix socket of the embedded broker; in the temporary folder if the path under `home` is too long."""
        path = self.home.absolute() / "broker.sock"
        if len(str(path)) <= _MAX_SOCKET_PATH:
            return path
        short = hashlib.sha256(str(path).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"arith-{os.getuid()}-{short}" / "broker.sock"

    @cached_property
    def broker(self) -> str:
        """The broker's URL, secrets included: never log it."""
        if self.broker_url is not None:
            return _complete(self.broker_url, self.broker_password_file)
        return f"redis+socket://{self.broker_socket}"

    @cached_property
    def dashboard_secret(self) -> str | None:
        """The dashboard's token, if one is given: never log it."""
        if self.dashboard_token_file is not None:
            return _password_in(self.dashboard_token_file)
        return self.dashboard_token.get_secret_value() if self.dashboard_token is not None else None

    @property
    def insecure(self) -> str | None:
        """What to say if anything is opened by the password that everybody can read in this repository."""
        urls = {"broker": self.broker, "database": self.database}
        passwords = {name: urlsplit(url).password for name, url in urls.items()}
        passwords["dashboard"] = self.dashboard_secret
        named = [name for name, password in passwords.items() if password == stack.DEFAULT_PASSWORD]
        if not named:
            return None
        return f"the default password opens the {' and the '.join(named)}: `make env` writes strong ones into .env"


def _complete(url: SecretStr, password_file: Path | None) -> str:
    """The URL with the password from the file, if there is one; raises UserError if it cannot be read."""
    text = url.get_secret_value()
    if password_file is None:
        return text
    return stack.with_password(text, _password_in(password_file))


def _password_in(file: Path) -> str:
    """What the file holds, or the default password where it is empty; raises UserError if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8").strip() or stack.DEFAULT_PASSWORD
    except OSError as error:
        raise UserError(f"password file {file}: {error.strerror}") from error


def load_settings() -> Settings:
    """Read the environment and settle the mode.

    Raises UserError naming the variable, the value and what is expected.
    """
    settings = _read(Settings)
    if settings.mode == "embedded":
        unset = ("broker_url", "broker_password_file", "database_url", "database_password_file", "artifacts")
        return settings.model_copy(update=dict.fromkeys(unset))
    if settings.mode == "auto" and (settings.broker_url is not None or settings.database_url is not None):
        return settings
    if not stack.is_here():
        if settings.mode == "compose":
            raise UserError("ARITH_MODE=compose, but this folder has no docker-compose.yml of arithctl")
        return settings
    found = _read(stack.Stack)
    if settings.mode == "auto" and not found.answers():
        return settings
    return settings.model_copy(
        update={
            "mode": "compose",
            "broker_url": SecretStr(found.broker_url),
            "database_url": SecretStr(found.database_url),
            "artifacts": settings.artifacts or found.artifact_folder,
        }
    )


def _read(kind: type[_Kind]) -> _Kind:
    prefix = str(kind.model_config.get("env_prefix"))
    try:
        return kind()
    except ValidationError as error:
        lines = []
        for detail in error.errors(include_url=False):
            name = prefix + "_".join(str(part).upper() for part in detail["loc"])
            message = str(detail["msg"]).removeprefix("Value error, ")
            # A URL may hold a password, however badly it is written.
            found = "" if name.endswith(("_URL", "_PASSWORD", "_TOKEN")) else f"={detail['input']!r}"
            lines.append(f"{name}{found}: {message}" if detail["loc"] else message)
        raise UserError("\n".join(lines)) from None
