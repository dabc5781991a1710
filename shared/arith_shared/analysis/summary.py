"""The few numbers that stand for a run: accuracy, the best correlations, what an untrained LM gives, and emergence.

The interval of a best correlation is the one of its cell; it is not widened for having searched all cells,
so it is a little optimistic where many cells are nearly equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arith_shared.analysis.emergence import best_cell, emergence, own_equation_ends
from arith_shared.analysis.intervals import wilson
from arith_shared.analysis.panel import UNTRAINED_SUFFIX, families
from arith_shared.problems import Layout
from arith_shared.work import Row

#: Names of the accuracy rows, by split.
_ACCURACIES = {"test": "accuracy", "probe": "accuracy_probe_split"}


def summarize(
    *, layout: Layout, threshold: float, shards: Sequence[Mapping[str, Any]], scores: Sequence[Row]
) -> dict[str, list[Row]]:
    """Return the rows of the tables `summary` and `emergence`.

    `shards` holds the meta of every shard (split, tried, solved), `scores` every score row of the run.
    """
    accuracies = [_accuracy(name, split, shards) for split, name in _ACCURACIES.items()]
    bests = [
        _best(scores, family, variable)
        for family in families(scores)
        for variable in sorted(layout.variables)
    ]
    return {
        "summary": [row for row in accuracies if row] + bests,
        "emergence": emergence(scores, own_equation_ends(layout), threshold),
    }


def _accuracy(name: str, split: str, shards: Iterable[Mapping[str, Any]]) -> Row | None:
    """Return the share of tried problems whose whole output is right; None when none was tried."""
    own = [shard for shard in shards if shard["split"] == split]
    tried = sum(shard["tried"] for shard in own)
    if not tried:
        return None
    share = wilson(sum(shard["solved"] for shard in own), tried)
    return {"name": name, "value": share.value, "ci_low": share.low, "ci_high": share.high, "n": tried}


def _best(scores: Iterable[Row], family: str, variable: str) -> Row:
    cell = best_cell(row for row in scores if row["family"] == family and row["variable"] == variable)
    found = {name: cell and cell[name] for name in ("value", "ci_low", "ci_high")}
    name = f"max_r/{family}/{variable}"
    if family.endswith(UNTRAINED_SUFFIX):
        name = f"untrained/{family.removesuffix(UNTRAINED_SUFFIX)}/{variable}"
    return {"name": name, **found, "n": cell["n_eval"] if cell else 0}
