"""What `submit --dry-run` prints: the resolved spec or sweep, and what it will cost."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
import yaml

from arith_shared.analysis.sweep import words
from arith_shared.ledger.groups import Member
from arith_shared.ledger.rounds import layer_groups
from arith_shared.settings import Settings
from arith_shared.specs import Spec
from arithctl.forecast import (
    Calibration,
    as_rows,
    forecast,
    in_all,
    measure_rate,
    peak_bytes,
    states_bytes,
    total_bytes,
)
from arithctl.forecast.calibration import load
from arithctl.output import human_bytes, human_duration, print_table


def print_plan(settings: Settings, spec: Spec, as_json: bool) -> None:
    """The resolved spec, and what each stage will cost."""
    calibration, why = load(settings)
    stages = forecast(spec, calibration)
    resolved = spec.model_dump(mode="json")
    total = in_all(stages, calibration)
    if as_json:
        facts = {"spec": resolved, "forecast": as_rows(stages), "seconds": total, "calibration": why}
        click.echo(json.dumps(facts, indent=2))
        return
    click.echo(yaml.safe_dump(resolved, sort_keys=False).rstrip())
    rows = [
        {
            "stage": stage.stage,
            "units": stage.units,
            "FLOPs": f"{stage.flops:.2e}",
            "disk": human_bytes(stage.size_bytes),
            "time here": _time(stage.seconds, stage.at_most),
        }
        for stage in stages
    ]
    rows.append(
        {
            "stage": "in all",
            "units": sum(stage.units for stage in stages),
            "FLOPs": f"{sum(stage.flops for stage in stages):.2e}",
            "disk": human_bytes(sum(stage.size_bytes for stage in stages)),
            "time here": _time(total, any(stage.at_most for stage in stages)),
        }
    )
    click.echo()
    print_table(rows, list(rows[0]), title="Forecast")
    click.echo(f"Time: {_trust(calibration, why)}.")
    if not spec.extract.keep_states:
        rounds = len(layer_groups(spec))
        click.echo(
            f"Hidden states: {human_bytes(states_bytes(spec))} in {rounds} round{'s' * (rounds > 1)} of layers, each "
            f"deleted once probed: {human_bytes(peak_bytes(spec))} lie on the disk at one time."
        )


def print_sweep(settings: Settings, members: Sequence[Member], as_json: bool) -> None:
    """Every run of a sweep with its cost, and the bytes of all of them, what they share counted once."""
    calibration, why = load(settings)
    rate = None if calibration else measure_rate()
    stages = [forecast(member.spec, calibration, rate) for member in members]
    if as_json:
        runs = [
            {"swept": member.swept, "spec": member.spec.model_dump(mode="json"), "forecast": as_rows(cost)}
            for member, cost in zip(members, stages, strict=True)
        ]
        click.echo(json.dumps({"runs": runs, "calibration": why}, indent=2))
        return
    rows = [
        {
            "run": words(member.swept),
            "units": sum(stage.units for stage in cost),
            "FLOPs": f"{sum(stage.flops for stage in cost):.2e}",
            "disk": human_bytes(sum(stage.size_bytes for stage in cost)),
            "time here": _time(in_all(cost, calibration), any(stage.at_most for stage in cost)),
        }
        for member, cost in zip(members, stages, strict=True)
    ]
    print_table(rows, list(rows[0]), title=f"Forecast of {len(rows)} runs, each as if it were alone")
    click.echo(f"Time: {_trust(calibration, why)}.")
    click.echo(
        f"Together {human_bytes(total_bytes([member.spec for member in members]))}: "
        "LMs and hidden states that runs have in common are made once."
    )


def _time(seconds: float, at_most: bool) -> str:
    return f"{'at most ' if at_most else ''}{human_duration(seconds)}"


def _trust(calibration: Calibration | None, why: str) -> str:
    """How far the times can be believed."""
    if calibration is not None:
        return why
    return f"this machine's processor, to a factor of about two; {why}"
