"""One recipe from problems to rows, stage by stage, with the services' handlers and nothing between them.

What a stage writes lies under its content key and is made in a folder beside it that is renamed when it is
complete: a second start finds and uses it.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.flops import peak_flops
from clock import TrainingClock, decoder

from arith_extractor.handler import handle as extract
from arith_model import checkpoint
from arith_model.devices import choose_device, device_name
from arith_model.tokenizer import save_tokenizer, tokenizer_for
from arith_model.transformer import build_for, save_model
from arith_prober.handler import handle as probe
from arith_shared import keys
from arith_shared.errors import DrainError, UnsolvedError
from arith_shared.problems import probed_tokens
from arith_shared.specs import Spec
from arith_shared.work import ROWS_FILE, Artifact, Context, Handler, Outcome, Progress, Row, Unit, no_progress
from arith_trainer.handler import LOG_FILE
from arith_trainer.handler import handle as train

_META = "meta.json"
#: Why a complete training ended.
END = "the end of the schedule"
#: Why an unfinished training ended.
BUDGET = "the time budget"


@dataclass(frozen=True, slots=True)
class Finished:
    """A recipe that came to its rows."""

    name: str
    spec: Spec
    rows: Mapping[str, Sequence[Row]]
    #: Facts about training: device, steps, tokens, seconds, tokens_per_s, mfu, stopped_by.
    facts: Mapping[str, Any]
    #: step, tokens, seconds, loss, accuracy at each evaluation.
    curve: Sequence[Row]


def run_recipe(name: str, spec: Spec, work: Path, budget_s: float, peak_tflops: float | None) -> Finished:
    """Train within `budget_s` seconds, then extract, probe and summarize; raises ArithError as the handlers do."""
    folder = work / f"{name}-{keys.spec_key(spec)[:12]}"
    device = device_name(choose_device())
    clock = TrainingClock(name, spec, peak_flops(device, peak_tflops), budget_s)
    model, curve = _train(spec, folder, clock)
    shards, blocks = [], []
    for weights in ("trained", "untrained")[: 1 + spec.probe.untrained]:
        mine = [
            shard
            for split, wanted in (("probe", spec.extract.n_train), ("test", spec.extract.n_eval))
            for shard in _extract(spec, folder, model, weights, split, wanted)
        ]
        shards += mine
        blocks += _probe(spec, folder, mine, weights)
    summary = _do(probe, spec, folder / "summary", "summarize", {}, {"extract": shards, "probe": blocks})
    scores = [row for block in blocks for row in _rows(block)["scores"]]
    rows = {**_rows(summary), "scores": scores}
    named = {table: [{"run": name, **row} for row in found] for table, found in rows.items()}
    return Finished(name, spec, named, {"device": device, **model.meta}, curve)


def _train(spec: Spec, folder: Path, clock: TrainingClock) -> tuple[Artifact, list[Row]]:
    """The trained LM: to the end, to the target accuracy, or as far as the budget allows."""
    target = folder / "model"
    times = folder / "seconds.json"
    if target.exists() and json.loads((target / _META).read_text())["stopped_by"] == BUDGET:
        # There is time again: what was made from the unfinished LM is made anew.
        for name in ("model", "states", "scores", "summary"):
            shutil.rmtree(folder / name, ignore_errors=True)
    if not target.exists():
        if times.exists():
            saved = json.loads(times.read_text())
            clock.before_s = saved["elapsed"]
            clock.seconds = {int(step): seconds for step, seconds in saved["steps"].items()}
        try:
            _do(train, spec, target, "train", {}, {}, clock)
        except DrainError:
            _from_checkpoint(spec, folder / "scratch" / "model", target)
        finally:
            folder.mkdir(parents=True, exist_ok=True)
            times.write_text(json.dumps({"elapsed": clock.elapsed_s, "steps": clock.seconds}))
        _amend(target, clock)
    model = _artifact(target, "model")
    log = [json.loads(line) for line in (target / LOG_FILE).read_text().splitlines()]
    known = json.loads(times.read_text())
    at = {**known["steps"], str(model.meta["steps"]): known["elapsed"]}
    curve = [
        {
            "step": line["step"],
            "seconds": at.get(str(line["step"])),
            "loss": line["loss"],
            "accuracy": line["accuracy"],
        }
        for line in log
        if "accuracy" in line
    ]
    return model, curve


def _from_checkpoint(spec: Spec, scratch: Path, target: Path) -> None:
    """Make the newest checkpoint a model, when the budget ended the training before the training did."""
    found = checkpoint.newest(scratch)
    if found is None:
        raise UnsolvedError("the budget was over before the first step; raise --budget-min")
    model = build_for(spec)
    prefix = "model/"
    model.load_state_dict(
        {key.removeprefix(prefix): value for key, value in found.tensors.items() if key.startswith(prefix)}
    )
    part = target.with_name("model.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_model(model, part)
    save_tokenizer(tokenizer_for(spec), part)
    log = found.facts["log"]
    (part / LOG_FILE).write_text("".join(f"{json.dumps(line)}\n" for line in log))
    accuracy = next((line["accuracy"] for line in reversed(log) if "accuracy" in line), None)
    meta = {"steps": found.step, "accuracy": accuracy, "stopped_by": BUDGET}
    (part / _META).write_text(json.dumps(meta))
    part.rename(target)
    sys.stdout.write(f"the budget ended training at step {found.step:,}; going on with that LM\n")


def _amend(target: Path, clock: TrainingClock) -> None:
    """Add what only the clock knows to the model's facts."""
    meta = json.loads((target / _META).read_text())
    steps = meta["steps"]
    stopped = meta.get("stopped_by") or (
        "the target accuracy"
        if meta["accuracy"] >= (decoder(clock.spec).training.stop_at_accuracy or 2.0)
        else END
    )
    meta |= {
        "stopped_by": stopped,
        "seconds": round(clock.elapsed_s, 1),
        "tokens_per_s": clock.tokens_per_s(steps),
        "mfu": clock.mfu(steps),
    }
    (target / _META).write_text(json.dumps(meta))
    sys.stdout.write(f"{clock.name}  trained: {steps:,} steps, {clock.rate(steps)}, {stopped}\n")


def _extract(
    spec: Spec, folder: Path, model: Artifact, weights: str, split: str, wanted: int
) -> list[Artifact]:
    """Shards of `split` until `wanted` problems are kept; raises UnsolvedError at the recipe's limit."""
    shards: list[Artifact] = []
    size = spec.extract.shard_problems
    while (kept := sum(shard.meta["kept"] for shard in shards)) < wanted:
        start = len(shards) * size
        if start >= spec.extract.max_tries * wanted:
            raise UnsolvedError(
                f"the LM solved {kept:,} of {start:,} problems of split {split}, {wanted:,} wanted"
            )
        payload = {"weights": weights, "split": split, "start": start, "count": size}
        target = folder / "states" / f"{weights}-{split}-{len(shards):05d}"
        shards.append(_do(extract, spec, target, "extract", payload, {"train": [model]}))
        sys.stdout.write(
            f"{folder.name}  extract {weights} {split}: {kept + shards[-1].meta['kept']:,}/{wanted:,}\n"
        )
    return shards


def _probe(spec: Spec, folder: Path, shards: Sequence[Artifact], weights: str) -> list[Artifact]:
    """A block of scores per layer, all positions together."""
    layers = spec.extract.layers or range(spec.lm.layers + 1)
    families = list(spec.probe.families) if weights == "trained" else ["ridge"]
    (layout,) = spec.task.evaluation().layouts
    positions = list(range(len(probed_tokens(layout, spec.task.chain))))
    blocks = []
    for layer in layers:
        payload = {"weights": weights, "families": families, "layer": layer, "positions": positions}
        target = folder / "scores" / f"{weights}-layer-{layer:02d}"
        blocks.append(_do(probe, spec, target, "probe", payload, {"extract": shards}))
        sys.stdout.write(f"{folder.name}  probe {weights} layer {layer}: done\n")
    return blocks


def _do(
    handler: Handler,
    spec: Spec,
    target: Path,
    stage: str,
    payload: Mapping[str, Any],
    inputs: Mapping[str, Sequence[Artifact]],
    progress: Progress = no_progress,
) -> Artifact:
    """Call a handler unless its files are there; they appear all at once."""
    if not target.exists():
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        scratch = target.parent / "scratch" / target.name
        scratch.mkdir(parents=True, exist_ok=True)
        unit = Unit(run=target.parent.name, stage=stage, key=target.name, attempt=1, payload=payload)
        outcome: Outcome = handler(spec, unit, Context(inputs, part, scratch, progress))
        (part / _META).write_text(json.dumps(dict(outcome.meta)))
        if outcome.rows:
            (part / ROWS_FILE).write_text(
                json.dumps({name: list(rows) for name, rows in outcome.rows.items()})
            )
        part.rename(target)
    return _artifact(target, stage)


def _artifact(folder: Path, kind: str) -> Artifact:
    meta = json.loads((folder / _META).read_text())
    return Artifact(folder.name, kind, folder, str(folder), meta)


def _rows(artifact: Artifact) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = json.loads((artifact.path / ROWS_FILE).read_text())
    return rows
