"""Sweeps: several values for some fields, one run for each combination of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from arith_shared.analysis.sweep import Condition, conditions, words
from arith_shared.errors import SpecError
from arith_shared.ledger.groups import Member
from arith_shared.ledger.tables import Run
from arithctl.pretrained import settle
from arithctl.recipes import Recipe

#: More runs than this in one sweep are taken for a slip of the keyboard.
_MAX_RUNS = 200

Sweep = tuple[str, list[Any]]


def parse_sweep(text: str) -> Sweep:
    """Split ``seed=1,2,3``; values are read as YAML, so that ``probe.families=[ridge],[mlp]`` has two.

    Raises SpecError.
    """
    path, equals, listed = text.partition("=")
    try:
        values = yaml.safe_load(f"[{listed}]")
    except yaml.YAMLError:
        values = None
    if not equals or not path.strip() or not values:
        raise SpecError(f"sweep {text!r}: expected FIELD=VALUE,VALUE,..., for example seed=1,2,3")
    if any(values.count(value) > 1 for value in values):
        raise SpecError(f"sweep {text!r}: a value stands there twice; two equal runs would be one")
    return path.strip(), values


def expand(
    recipe: Recipe, overrides: Sequence[tuple[str, Any]], seed: int | None, sweeps: Sequence[Sweep]
) -> list[Member]:
    """The runs of a sweep, the last field varying fastest.

    Raises SpecError for a field that is swept twice or also set, for too many runs, and for a combination that is no
    valid spec, naming it.
    """
    fields = [path for path, _ in sweeps]
    fixed = {path for path, _ in overrides} | ({"seed"} if seed is not None else set())
    for field in fields:
        if fields.count(field) > 1 or field in fixed:
            how = "swept twice" if fields.count(field) > 1 else "both swept and set to one value"
            raise SpecError(f"{field} is {how}; name it once")
    if (count := math.prod(len(values) for _, values in sweeps)) > _MAX_RUNS:
        raise SpecError(f"the sweep has {count} runs; expected at most {_MAX_RUNS}, sweep in parts")
    return [
        _member(recipe, overrides, seed, dict(zip(fields, values, strict=True)))
        for values in itertools.product(*(values for _, values in sweeps))
    ]


def conditions_of(runs: Iterable[Run]) -> list[Condition]:
    """The conditions of a group's runs: those that differ in their seed only belong together."""
    runs = list(runs)
    return conditions({run.id: run.swept for run in runs}, {run.id: int(run.spec["seed"]) for run in runs})


def _member(
    recipe: Recipe, overrides: Sequence[tuple[str, Any]], seed: int | None, swept: dict[str, Any]
) -> Member:
    try:
        return Member(settle(recipe.resolve([*overrides, *swept.items()], seed)), swept)
    except SpecError as error:
        raise SpecError(f"sweep {words(swept)}: {error}") from None
