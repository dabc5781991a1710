"""A shipped recipe as a spec, without pydantic: handlers read its fields, and the few methods below.

Nothing is validated; `arith_shared.specs` does that where it can be imported.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from arith_shared.problems import layout_distribution, probed_tokens

_RECIPES = Path(__file__).resolve().parents[2] / "cli" / "arithctl" / "recipes"


def spec_of(recipe: str, **fields: Any) -> Any:
    """The recipe with `fields` changed, as in lm__layers=2; every problem is kept, whatever the LM answers."""
    data = yaml.safe_load((_RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8"))
    for name, value in fields.items():
        *groups, last = name.split("__")
        place = data
        for group in groups:
            place = place[group]
        place[last] = value
    spec = _group(data)
    task = spec.task
    named = ("max_number", "names", "separator", "question", "values", "number_tokens")
    task.evaluation = partial(
        layout_distribution, task.layout, **{name: getattr(task, name) for name in named}
    )
    # What the general model is trained on would be another distribution; no bench needs it.
    task.training_distribution = task.evaluation
    task.probed_tokens = lambda: probed_tokens(task.evaluation().layouts[0], task.chain)
    spec.extract.keeps_all = lambda split: True
    spec.lm.problems_per_text = 1
    return spec


def _group(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{name: _group(each) for name, each in value.items()})
    return tuple(value) if isinstance(value, list) else value
