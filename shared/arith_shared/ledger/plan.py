"""What a run consists of: stages in a fixed order, the units of each, and what follows when one closes.

All functions run inside the caller's transaction. Units of a stage are planned when the stage before it
closes, because only then are its artifacts, and with them the content keys, known. Planning depends on the
spec and on those artifacts alone, never on timing or on the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from arith_shared import keys
from arith_shared.ledger import again
from arith_shared.ledger.clock import now
from arith_shared.ledger.events import record
from arith_shared.ledger.rounds import (
    kind_of,
    layer_groups,
    release_states,
    round_of,
    stage_names,
    stage_of,
)
from arith_shared.ledger.tables import Artifact, Attempt, Run, Stage, Unit
from arith_shared.specs import Spec

#: What is done in stages; with several rounds of layers, `extract` and `probe` come more than once.
STAGES = ("train", "extract", "probe", "summarize")
#: Summaries are torch-free seconds of work: the probers do them on the way.
QUEUE_OF = {"train": "train", "extract": "extract", "probe": "probe", "summarize": "probe"}
QUEUES = ("train", "extract", "probe")
#: What the untrained LM is read by: it shows what is there to be read, and costs next to nothing.
UNTRAINED_FAMILIES = ["ridge"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A unit to be inserted."""

    key: str
    payload: dict[str, Any]
    content_key: str


def open_first_stage(session: Session, run: Run, spec: Spec) -> None:
    """Insert the stages of a new run and the units of its first."""
    for ordinal, name in enumerate(stage_names(spec)):
        session.add(Stage(run_id=run.id, name=name, ordinal=ordinal, state="waiting"))
    session.flush()
    _open(session, lock_stage(session, run.id, STAGES[0]), spec)


def lock_stage(session: Session, run_id: str, name: str) -> Stage:
    """The stage's row, locked until the transaction ends (SQLite: the whole database already is)."""
    return session.scalars(
        select(Stage)
        .where(Stage.run_id == run_id, Stage.name == name)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def advance(session: Session, stage: Stage) -> None:
    """Close the stage if all its units are over, then open the next one, ask for more shards, or end the run."""
    if stage.state != "open" or stage.done + stage.failed < stage.total:
        return
    if stage.failed:
        fail_run(session, stage.run_id, _first_failure(session, stage))
        return
    spec = _spec_of(session, stage.run_id)
    if stage.name == "extract" and _top_up(session, stage, spec):
        return
    stage.state, stage.closed_at = "done", now()
    session.flush()
    if kind_of(stage.name) == "probe" and not spec.extract.keep_states:
        count = release_states(session, stage.run_id, stage_of("extract", round_of(stage.name)))
        record(session, stage.run_id, "states deleted", f"{count} shards, all their probes are fitted")
    record(session, stage.run_id, "stage done", f"{stage.name}: {stage.total} units, {stage.reused} reused")
    names = stage_names(spec)
    if stage.ordinal + 1 < len(names):
        _open(session, lock_stage(session, stage.run_id, names[stage.ordinal + 1]), spec)
    else:
        end_run(session, stage.run_id, "done")


def reopen(session: Session, run_id: str) -> None:
    """Carry on with the first stage that is not complete; those after it wait for it, whatever they have done."""
    spec = _spec_of(session, run_id)
    stages = [lock_stage(session, run_id, name) for name in stage_names(spec)]
    first = next(stage for stage in stages if stage.state != "done" or stage.done < stage.total)
    for stage in stages[first.ordinal :]:
        stage.state, stage.closed_at = "waiting", None
    session.flush()
    _open(session, first, spec)


def blame(session: Session, unit: Unit) -> str:
    """Which unit, which attempt at it, and where."""
    host = session.scalar(
        select(Attempt.host).where(Attempt.unit_id == unit.id, Attempt.number == unit.attempt)
    )
    return f"{unit.stage} unit {unit.key}, attempt {unit.attempt} on {host}"


def end_run(session: Session, run_id: str, state: str, error: str | None = None) -> None:
    """Bring an unfinished run into a terminal state."""
    session.execute(
        update(Run)
        .where(Run.id == run_id, Run.state.in_(("active", "cancelling")))
        .values(state=state, error=error, ended_at=now())
    )
    record(session, run_id, f"run {state}", error or "")


def fail_run(session: Session, run_id: str, message: str) -> None:
    """End the run as failed; what waits is cancelled, what runs learns at its next heartbeat, the rest is kept."""
    cancel_waiting(session, run_id)
    session.execute(
        update(Stage)
        .where(Stage.run_id == run_id, Stage.state == "open")
        .values(state="failed", closed_at=now())
    )
    end_run(session, run_id, "failed", message)


def cancel_waiting(session: Session, run_id: str) -> None:
    """Cancel all units of the run that no worker holds."""
    session.execute(
        update(Unit)
        .where(Unit.run_id == run_id, Unit.state.in_(("ready", "queued")))
        .values(state="cancelled", ended_at=now()),
        execution_options={"synchronize_session": False},
    )


def settle_cancelled(session: Session, run_id: str) -> None:
    """End a cancelling run once no worker holds a unit of it."""
    held = session.scalar(select(Unit.id).where(Unit.run_id == run_id, Unit.state == "running").limit(1))
    state = session.scalar(select(Run.state).where(Run.id == run_id))
    if held is None and state == "cancelling":
        session.execute(
            update(Stage)
            .where(Stage.run_id == run_id, Stage.state == "open")
            .values(state="cancelled", closed_at=now())
        )
        end_run(session, run_id, "cancelled")


def artifacts_of(session: Session, run_id: str, stage: str) -> list[Artifact]:
    """The artifacts of a stage's finished units, in the order of the unit keys."""
    query = (
        select(Artifact)
        .join(Unit, Unit.artifact_key == Artifact.key)
        .where(Unit.run_id == run_id, Unit.stage == stage, Unit.state == "done")
        .order_by(Unit.key)
    )
    return list(session.scalars(query))


def inputs_of(session: Session, run_id: str, stage: str) -> dict[str, list[Artifact]]:
    """What the units of a stage read, by what was done to make it.

    Probes read the shards of their own round. The summary reads all scores, and of the shards, which tell how many
    problems were solved, those of the first round: the later ones are the same problems again.
    """
    spec, kind, number = _spec_of(session, run_id), kind_of(stage), round_of(stage)
    stages = {
        "train": {},
        "extract": {"train": ["train"]},
        "probe": {"train": ["train"], "extract": [stage_of("extract", number)]},
        "summarize": {
            "train": ["train"],
            "extract": ["extract"],
            "probe": [name for name in stage_names(spec) if kind_of(name) == "probe"],
        },
    }[kind]
    return {
        name: [artifact for each in names for artifact in artifacts_of(session, run_id, each)]
        for name, names in stages.items()
    }


@dataclass(frozen=True, slots=True)
class Dataset:
    """Hidden states that probes need: problems of one split, as one LM sees them."""

    weights: Literal["trained", "untrained"]
    split: Literal["probe", "test"]
    #: Kept problems that it must have.
    wanted: int

    def shards(self, spec: Spec, first: int, count: int) -> list[dict[str, Any]]:
        """Payloads of `count` shards, starting with shard number `first`."""
        size = spec.extract.shard_problems
        return [
            {"weights": self.weights, "split": self.split, "start": number * size, "count": size}
            for number in range(first, first + count)
        ]

    def holds(self, meta: Mapping[str, Any]) -> bool:
        """Whether a shard with this meta belongs to the dataset."""
        return bool(meta["weights"] == self.weights and meta["split"] == self.split)


def datasets(spec: Spec) -> list[Dataset]:
    """What the extract stage must yield."""
    weights: tuple[Literal["trained", "untrained"], ...] = ("trained", "untrained")
    return [
        dataset
        for weight in weights[: 1 + spec.probe.untrained]
        for dataset in (
            Dataset(weight, "probe", spec.extract.n_train),
            Dataset(weight, "test", spec.extract.n_eval),
        )
    ]


def probe_units(spec: Spec, layers: Sequence[int]) -> list[dict[str, Any]]:
    """Payloads of all probe blocks of some layers: a layer and some neighbouring positions each."""
    positions = extracted_positions(spec)
    size = spec.probe.block_positions
    families = {"trained": list(spec.probe.families), "untrained": UNTRAINED_FAMILIES}
    return [
        {
            "weights": weights,
            "families": families[weights],
            "layer": layer,
            "positions": list(positions[start : start + size]),
        }
        for weights in dict.fromkeys(dataset.weights for dataset in datasets(spec))
        for layer in layers
        for start in range(0, len(positions), size)
    ]


def extracted_positions(spec: Spec) -> tuple[int, ...]:
    """The positions whose hidden states are written and probed: of the question, and of the chain if there is one."""
    wanted = spec.extract.positions
    return tuple(sorted({*wanted})) if wanted is not None else tuple(range(len(spec.task.probed_tokens())))


def _open(session: Session, stage: Stage, spec: Spec) -> None:
    planners = {
        "train": _plan_train,
        "extract": _plan_extract,
        "probe": _plan_probe,
        "summarize": _plan_summary,
    }
    units = planners[kind_of(stage.name)](session, stage, spec)
    there = set(
        session.scalars(select(Unit.key).where(Unit.run_id == stage.run_id, Unit.stage == stage.name))
    )
    stage.state, stage.opened_at = "open", now()
    _insert(session, stage, [unit for unit in units if unit.key not in there])
    if there:
        again.requeue(session, stage, {unit.key: unit.content_key for unit in units})
        # All may be done, and what follows may be missing: the next stage, or more shards.
        advance(session, stage)


def _insert(session: Session, stage: Stage, units: Iterable[Planned]) -> None:
    rows = [
        {
            "run_id": stage.run_id,
            "stage": stage.name,
            "key": unit.key,
            "queue": QUEUE_OF[kind_of(stage.name)],
            "payload": unit.payload,
            "content_key": unit.content_key,
            "state": "ready",
        }
        for unit in units
    ]
    if rows:
        session.execute(insert(Unit), rows)
    stage.total += len(rows)
    session.flush()


def _plan_train(session: Session, stage: Stage, spec: Spec) -> list[Planned]:
    return [Planned("model", {}, keys.train_key(spec, stage.run_id))]


def _plan_extract(session: Session, stage: Stage, spec: Spec) -> list[Planned]:
    (model,) = artifacts_of(session, stage.run_id, "train")
    size = spec.extract.shard_problems
    payloads = [
        payload
        for dataset in datasets(spec)
        for payload in dataset.shards(spec, 0, math.ceil(dataset.wanted / size))
    ]
    # When the stage opens again, the shards that were added to it are still wanted; and in every round those of the
    # first, which knows how many problems are solved.
    payloads += session.scalars(
        select(Unit.payload).where(Unit.run_id == stage.run_id, Unit.stage == "extract").order_by(Unit.id)
    )
    layers = layer_groups(spec)[round_of(stage.name) - 1]
    shards = [_planned_shard(spec, model.digest, payload, layers) for payload in payloads]
    return list({shard.key: shard for shard in shards}.values())


def _planned_shard(
    spec: Spec, model_digest: str, payload: dict[str, Any], layers: tuple[int, ...]
) -> Planned:
    if len(layer_groups(spec)) > 1:
        payload = {**payload, "layers": list(layers)}
    number = payload["start"] // payload["count"]
    digest = model_digest if payload["weights"] == "trained" else keys.untrained_digest(spec, model_digest)
    key = f"{payload['weights']}/{payload['split']}/{number:05d}"
    return Planned(key, payload, keys.extract_key(spec, digest, payload))


def _plan_probe(session: Session, stage: Stage, spec: Spec) -> list[Planned]:
    number = round_of(stage.name)
    shards = artifacts_of(session, stage.run_id, stage_of("extract", number))
    planned = []
    for payload in probe_units(spec, layer_groups(spec)[number - 1]):
        weights, layer, first = payload["weights"], payload["layer"], payload["positions"][0]
        read = [shard.key for shard in shards if shard.meta["weights"] == weights]
        key = f"{weights}/layer-{layer:02d}/position-{first:03d}"
        planned.append(Planned(key, payload, keys.probe_key(spec, read, payload)))
    return planned


def _plan_summary(session: Session, stage: Stage, spec: Spec) -> list[Planned]:
    read = inputs_of(session, stage.run_id, stage.name)
    upstream = [artifact.key for kind in ("extract", "probe") for artifact in read[kind]]
    return [Planned("summary", {}, keys.summary_key(spec, upstream))]


def _top_up(session: Session, stage: Stage, spec: Spec) -> bool:
    """Add shards where too few problems were kept; fail the run at the cap. True if the stage must not close."""
    (model,) = artifacts_of(session, stage.run_id, "train")
    shards = [artifact.meta for artifact in artifacts_of(session, stage.run_id, "extract")]
    payloads: list[dict[str, Any]] = []
    for dataset in datasets(spec):
        mine = [meta for meta in shards if dataset.holds(meta)]
        tried, kept = sum(meta["tried"] for meta in mine), sum(meta["kept"] for meta in mine)
        if kept >= dataset.wanted:
            continue
        if tried >= spec.extract.max_tries * dataset.wanted:
            fail_run(session, stage.run_id, _unsolved(dataset, tried, kept))
            return True
        # The cap also bounds what one round may add when hardly anything was solved in the last.
        rate = max(kept / tried, 1 / spec.extract.max_tries)
        more = math.ceil((dataset.wanted - kept) / rate / spec.extract.shard_problems)
        payloads += dataset.shards(spec, len(mine), more)
    if payloads:
        layers = layer_groups(spec)[0]
        _insert(session, stage, [_planned_shard(spec, model.digest, payload, layers) for payload in payloads])
        record(session, stage.run_id, "shards added", f"{len(payloads)}, for lack of solved problems")
    return bool(payloads)


def _first_failure(session: Session, stage: Stage) -> str:
    failed = (Unit.run_id == stage.run_id, Unit.stage == stage.name, Unit.state == "failed")
    unit = session.scalars(select(Unit).where(*failed).order_by(Unit.ended_at, Unit.id).limit(1)).one()
    return (
        f"{stage.failed} of {stage.total} {stage.name} units failed: {unit.error} ({blame(session, unit)}); "
        f"`arithctl logs {stage.run_id} --errors` shows the traceback, `arithctl resume {stage.run_id}` tries again"
    )


def _unsolved(dataset: Dataset, tried: int, kept: int) -> str:
    return (
        f"the LM solved {kept:,} of {tried:,} problems of split {dataset.split}, but {dataset.wanted:,} solved "
        "ones are wanted: train it longer, lower extract.n_train and extract.n_eval, raise extract.max_tries, "
        "or set extract.keep=all"
    )


def _spec_of(session: Session, run_id: str) -> Spec:
    return Spec.model_validate(session.scalar(select(Run.spec).where(Run.id == run_id)))
