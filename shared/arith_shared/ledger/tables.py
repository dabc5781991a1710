"""The tables: the truth about runs. Celery's messages are only hints about these rows.

Times are seconds since 1970 by the database's clock (`clock.now`). States are text with a CHECK, so that a
typo cannot become a state. A unit's result rows carry the unit and the attempt that wrote them.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sqlalchemy import JSON, BigInteger, CheckConstraint, Double, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

RunState = Literal["active", "cancelling", "done", "failed", "cancelled"]
StageState = Literal["waiting", "open", "done", "failed", "cancelled"]
UnitState = Literal["ready", "queued", "running", "done", "failed", "cancelled"]

RUN_OVER = ("done", "failed", "cancelled")
UNIT_OVER = ("done", "failed", "cancelled")
#: How an attempt may end.
OUTCOMES = ("done", "reused", "failed", "lost", "released", "cancelled")


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


class Base(DeclarativeBase):
    """Common base; fixes how Python types map to columns."""

    type_annotation_map: ClassVar[dict[Any, TypeEngine[Any]]] = {
        float: Double(),
        str: Text(),
        dict[str, Any]: JSON(),
    }


class Run(Base):
    """One execution of a spec."""

    __tablename__ = "runs"
    __table_args__ = (
        _one_of("state", "active", "cancelling", "done", "failed", "cancelled"),
        Index("runs_by_group", "group_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    recipe: Mapped[str]
    name: Mapped[str | None]
    spec: Mapped[dict[str, Any]]
    spec_key: Mapped[str]
    #: Versions, host, git commit of the submitting side: what a reader needs to reproduce the run.
    provenance: Mapped[dict[str, Any]]
    state: Mapped[str]
    priority: Mapped[int] = mapped_column(default=0)
    #: The group that the run was submitted in, its place there, and its values of the fields that differ.
    group_id: Mapped[str | None]
    group_place: Mapped[int] = mapped_column(default=0, server_default="0")
    swept: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    error: Mapped[str | None]
    created_at: Mapped[float]
    ended_at: Mapped[float | None]


class Stage(Base):
    """A step of a run; its counters make closing it a matter of one locked row."""

    __tablename__ = "stages"
    __table_args__ = (_one_of("state", "waiting", "open", "done", "failed", "cancelled"),)

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    ordinal: Mapped[int]
    state: Mapped[str]
    total: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    reused: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    opened_at: Mapped[float | None]
    closed_at: Mapped[float | None]


class Unit(Base):
    """The smallest scheduled piece. `attempt` names the try that may act; `owner` the one that does."""

    __tablename__ = "units"
    __table_args__ = (
        UniqueConstraint("run_id", "stage", "key"),
        _one_of("state", "ready", "queued", "running", "done", "failed", "cancelled"),
        CheckConstraint(
            "state <> 'running' OR (owner IS NOT NULL AND lease_until IS NOT NULL)", name="running_is_owned"
        ),
        CheckConstraint("state <> 'done' OR artifact_key IS NOT NULL", name="done_has_artifact"),
        # In the order in which units are sent, so that the next ones are found at once however many are ready.
        Index("units_by_state", "state", "queue", "run_id", "id"),
        Index("units_by_stage", "run_id", "stage", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    stage: Mapped[str]
    key: Mapped[str]
    queue: Mapped[str]
    payload: Mapped[dict[str, Any]]
    content_key: Mapped[str] = mapped_column(index=True)
    state: Mapped[str]
    #: Grows by one on every return to `ready`; a message that names another attempt is dropped.
    attempt: Mapped[int] = mapped_column(default=1)
    #: Attempts that count against the limit: failures and lost leases, not drains.
    failures: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[float] = mapped_column(default=0.0)
    #: When an unanswered message is sent again.
    resend_at: Mapped[float | None]
    sends: Mapped[int] = mapped_column(default=0)
    owner: Mapped[str | None]
    worker_id: Mapped[str | None]
    lease_until: Mapped[float | None]
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    progress_done: Mapped[float] = mapped_column(default=0.0)
    progress_total: Mapped[float] = mapped_column(default=0.0)
    #: Progress per second over the last minute, as the worker measures it.
    progress_rate: Mapped[float] = mapped_column(default=0.0, server_default="0")
    progress_unit: Mapped[str] = mapped_column(default="")
    progress_note: Mapped[str] = mapped_column(default="")
    reused: Mapped[bool] = mapped_column(default=False)
    artifact_key: Mapped[str | None] = mapped_column(ForeignKey("artifacts.key"), index=True)
    error: Mapped[str | None]


class Attempt(Base):
    """One try at a unit: the audit trail, appended to and closed once."""

    __tablename__ = "attempts"
    __table_args__ = (Index("attempts_by_end", "ended_at"),)

    unit_id: Mapped[int] = mapped_column(ForeignKey("units.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    worker_id: Mapped[str]
    host: Mapped[str]
    started_at: Mapped[float]
    ended_at: Mapped[float | None]
    #: One of OUTCOMES, once it is over.
    outcome: Mapped[str | None]
    error: Mapped[str | None]
    #: Tokens put through the LM, and the largest GPU memory in bytes, as last reported.
    tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    gpu_bytes: Mapped[int | None] = mapped_column(BigInteger)


class Artifact(Base):
    """Published files under a content key; readers take the path from here and from nowhere else."""

    __tablename__ = "artifacts"

    key: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    path: Mapped[str]
    digest: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    meta: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    used_at: Mapped[float]
    #: When the files were deleted to save space; the row stays, for the runs that were made from them.
    deleted_at: Mapped[float | None]


class Score(Base):
    """How well one variable can be read from one hidden state by one probe family."""

    __tablename__ = "scores"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    layer: Mapped[int] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    variable: Mapped[str] = mapped_column(primary_key=True)
    family: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str]
    value: Mapped[float | None]
    ci_low: Mapped[float | None]
    ci_high: Mapped[float | None]
    n_train: Mapped[int]
    n_eval: Mapped[int]
    ceiling: Mapped[float | None]
    control: Mapped[float | None]
    given: Mapped[bool]
    status: Mapped[str]
    unit_id: Mapped[int] = mapped_column(ForeignKey("units.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]


class Summary(Base):
    """One named figure of a run, with its interval and n."""

    __tablename__ = "summary"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None]
    ci_low: Mapped[float | None]
    ci_high: Mapped[float | None]
    n: Mapped[int | None]
    unit_id: Mapped[int] = mapped_column(ForeignKey("units.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]


class Emergence(Base):
    """Where a variable first becomes readable."""

    __tablename__ = "emergence"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    variable: Mapped[str] = mapped_column(primary_key=True)
    family: Mapped[str] = mapped_column(primary_key=True)
    threshold: Mapped[float] = mapped_column(primary_key=True)
    position: Mapped[int | None]
    token: Mapped[str | None]
    layer: Mapped[int | None]
    offset_from_own_equation: Mapped[int | None]
    ci_low: Mapped[float | None]
    ci_high: Mapped[float | None]
    unit_id: Mapped[int] = mapped_column(ForeignKey("units.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]


class Event(Base):
    """What happened, in the order it was committed."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    unit_id: Mapped[int | None]
    at: Mapped[float]
    kind: Mapped[str]
    message: Mapped[str]


class Worker(Base):
    """A worker process that has reported itself; alive while `seen_at` is recent."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    queue: Mapped[str]
    device: Mapped[str] = mapped_column(default="")
    version: Mapped[str]
    started_at: Mapped[float]
    seen_at: Mapped[float]
    draining: Mapped[bool] = mapped_column(default=False)


#: Tables that a finished unit may fill, by the name that handlers use.
RESULT_TABLES: dict[str, type[Score] | type[Summary] | type[Emergence]] = {
    "scores": Score,
    "summary": Summary,
    "emergence": Emergence,
}
