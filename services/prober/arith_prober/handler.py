"""The prober's two stages: hidden states to score rows, score rows to a summary. Glue only."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from arith_model.devices import device_name
from arith_prober.block import Block
from arith_prober.summary import summarize
from arith_shared.work import Context, Outcome, Row, Unit

if TYPE_CHECKING:
    from arith_shared.specs import Spec


def handle(spec: Spec, unit: Unit, context: Context) -> Outcome:
    """Do a unit of the stage `probe` or `summarize`.

    Raises UnsolvedError when the shards hold fewer problems than the spec asks for.
    """
    return {"probe": probe, "summarize": summarize}[unit.stage](spec, unit, context)


def probe(spec: Spec, unit: Unit, context: Context) -> Outcome:
    """Fit and score every family and variable at one layer and some positions."""
    block = Block.open(spec, unit.payload, context.inputs["extract"])
    positions: list[int] = unit.payload["positions"]
    per_position = len(block.families) * len(block.variables)
    rows: list[Row] = []
    keep = block.predictions()
    for position in positions:
        pulse = partial(context.progress, len(rows), len(positions) * per_position, "probes")
        rows += block.score(position, pulse, keep)
    context.progress(len(rows), len(rows), "probes")
    if keep is not None:
        keep.write(context.output)
    return Outcome(meta={"cells": len(rows), "device": device_name(block.device)}, rows={"scores": rows})
