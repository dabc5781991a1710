"""Measurements beside what a user would pick instead: `make bench` runs all, `python -m bench.NAME` one.

Contestants of a bench take turns in one process, round after round, and are compared within each round, so that
what else the machine does hits all of them. Each bench keeps its figures in `docs/benchmarks/NAME.json`, and
`docs/benchmarks.md` is written from these files. Peers outside our own dependencies live in an environment laid over
ours (`make bench` builds it); where one is missing its lines say so.
"""

#: In the order of the page's interest; each is a module of this package.
BENCHES = (
    "ridge",
    "mlp",
    "dedup",
    "store",
    "chain",
    "problems",
    "extract",
    "training",
    "growth",
    "dispatch",
    "scaling",
    "whole_run",
    "forecast",
)
