"""Rounds: layers in the groups in which they are extracted, probed and, where states are not kept, deleted.

With one round the stages of a run are `train, extract, probe, summarize`. With more, `extract` and `probe` come again
for each further group, as `extract-2`, `probe-2` and so on, in that order: a stage still opens only when all before
it are done, so never more than one group's hidden states are on the disk. The cost is a forward pass per round.
"""

from __future__ import annotations

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from arith_shared.ledger.clock import now
from arith_shared.ledger.tables import RUN_OVER, Artifact, Run, Unit
from arith_shared.specs import Spec


def extracted_layers(spec: Spec) -> tuple[int, ...]:
    """The layers whose hidden states are written; 0 is the embedding output."""
    wanted = spec.extract.layers
    return tuple(sorted({*wanted})) if wanted is not None else tuple(range(spec.lm.layers + 1))


def layer_groups(spec: Spec) -> list[tuple[int, ...]]:
    """The layers of each round."""
    layers = extracted_layers(spec)
    size = spec.extract.layers_at_once or len(layers)
    return [layers[start : start + size] for start in range(0, len(layers), size)]


def stage_names(spec: Spec) -> list[str]:
    """All stages of a run, in order."""
    rounds = range(1, len(layer_groups(spec)) + 1)
    pairs = [stage_of(kind, number) for number in rounds for kind in ("extract", "probe")]
    return ["train", *pairs, "summarize"]


def stage_of(kind: str, number: int) -> str:
    """The name of a stage in round `number`, from 1."""
    return kind if number == 1 else f"{kind}-{number}"


def kind_of(stage: str) -> str:
    """What is done in a stage: train, extract, probe or summarize."""
    return stage.partition("-")[0]


def round_of(stage: str) -> int:
    """The round that a stage belongs to, from 1."""
    return int(stage.partition("-")[2] or 1)


def release_states(session: Session, run_id: str, stage: str) -> int:
    """Mark the hidden states of a stage as deleted, but for those that another run may still read; how many.

    For the transaction that ends their use; `released_paths` tells whose files can go once it has committed.
    """
    made = select(Unit.artifact_key).where(Unit.run_id == run_id, Unit.stage == stage, Unit.state == "done")
    elsewhere = exists().where(
        Unit.content_key == Artifact.key,
        Unit.run_id != run_id,
        Run.id == Unit.run_id,
        Run.state.not_in(RUN_OVER),
    )
    released = session.execute(
        update(Artifact)
        .where(Artifact.key.in_(made), Artifact.deleted_at.is_(None), ~elsewhere)
        .values(deleted_at=now(), size_bytes=0)
        .returning(Artifact.key),
        execution_options={"synchronize_session": False},
    )
    return len(released.all())


def released_paths(session: Session, run_id: str, stage: str) -> list[str]:
    """Where the files of a stage's deleted artifacts are, or were."""
    query = (
        select(Artifact.path)
        .join(Unit, Unit.artifact_key == Artifact.key)
        .where(Unit.run_id == run_id, Unit.stage == stage, Artifact.deleted_at.is_not(None))
    )
    return list(session.scalars(query))
