"""The columns of the result tables and their types: a stable surface that scripts may rely on.

Types are written down instead of guessed from the rows, so that a Parquet column has the same type
whether or not a run happens to have a number in it.
"""

from __future__ import annotations

from typing import Literal

#: Of a group: a mean over seeds, its interval over runs, of how many runs it is, and how many have the row.
_MEAN = ("mean", "ci_low", "ci_high", "runs", "runs_asked")

#: Columns of each result table, in the order in which they are written.
COLUMNS: dict[str, tuple[str, ...]] = {
    "summary": ("run", "name", "value", "ci_low", "ci_high", "n"),
    "scores": (
        "run",
        "layer",
        "position",
        "token",
        "variable",
        "family",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "n_train",
        "n_eval",
        "ceiling",
        "control",
        "given",
        "status",
    ),
    "mean summary": ("group", "condition", "name", *_MEAN),
    "mean scores": (
        "group",
        "condition",
        "layer",
        "position",
        "token",
        "variable",
        "family",
        "metric",
        *_MEAN,
        "ceiling",
        "given",
        "n_train",
        "n_eval",
    ),
    "mean emergence": ("group", "condition", "variable", "family", "threshold", *_MEAN),
    "claims": ("run", "claim", "source", "measured", "ci_low", "ci_high", "verdict", "why"),
    "differences": (
        "run",
        "baseline",
        "metric",
        "variable",
        "family",
        "position",
        "token",
        "layer",
        "baseline_layer",
        "value",
        "baseline_value",
        "difference",
        "ci_low",
        "ci_high",
        "n",
        "baseline_n",
        "paired",
        "given",
        "status",
    ),
    "emergence": (
        "run",
        "variable",
        "family",
        "threshold",
        "position",
        "token",
        "layer",
        "offset_from_own_equation",
        "ci_low",
        "ci_high",
    ),
}

ColumnType = Literal["text", "integer", "real", "flag"]

_TYPED: dict[ColumnType, str] = {
    "text": "run group condition baseline name token variable family metric status claim source verdict why",
    "integer": "runs runs_asked layer baseline_layer position n baseline_n n_train n_eval offset_from_own_equation",
    "real": "mean value baseline_value difference ci_low ci_high ceiling control threshold measured",
    "flag": "given paired",
}

#: Type of every column above; columns of other tables are typed by the values found in them.
TYPES: dict[str, ColumnType] = {name: kind for kind, names in _TYPED.items() for name in names.split()}
