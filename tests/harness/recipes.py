"""A real recipe made small enough for tests: the whole path in half a minute of CPU."""

from __future__ import annotations

#: The demo's recipe in small: it solves nothing, so all problems are kept.
SMALL = {
    "lm.layers": 1,
    "lm.heads": 2,
    "lm.width": 32,
    "lm.ffn": 64,
    "lm.training.problems": 32_000,
    "lm.training.batch_tokens": 1_408,
    "lm.training.evaluate_every": 100,
    "lm.training.checkpoint_every_s": 0.5,
    "extract.keep": "all",
    "extract.n_train": 300,
    "extract.n_eval": 200,
    "extract.shard_problems": 100,
    "probe.resamples": 50,
}


def overrides(**fields: object) -> list[str]:
    """The options of `arithctl submit tiny-specialized` that make it small; `fields` (`__` for a dot) on top."""
    values = SMALL | {name.replace("__", "."): value for name, value in fields.items()}
    return [part for name, value in values.items() for part in ("-s", f"{name}={value}")]
