"""Section 3 of the paper at full size on one GPU: `python bench/paper_gpu`, or `make paper-gpu`.

Handlers are called directly: no queue, no database, no installed distribution. Needed are Python 3.11, torch,
transformers (which brings numpy, PyYAML and rich), pyarrow and pydantic; figures are drawn where matplotlib is.
Started again with the same --work it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (".", "shared", "cli", "services/trainer", "services/extractor", "services/prober")
# First, so that this checkout's code runs, whatever is installed.
sys.path[:0] = [str(ROOT / folder) for folder in FOLDERS]


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python bench/paper_gpu", description=__doc__)
    parser.add_argument("--recipes", default="opt-specialized,opt-general", help="comma-separated")
    parser.add_argument(
        "--out", type=Path, default=Path("paper-gpu-results"), help="tables and figures: a few MB"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(".arith/paper-gpu"), help="checkpoints, models, states"
    )
    parser.add_argument(
        "--budget-min", type=float, default=240.0, help="minutes until training ends (default 240)"
    )
    parser.add_argument(
        "--target",
        type=float,
        default=0.995,
        help="validation accuracy at which training stops (default 0.995); 0 trains to the end, as table 2 says",
    )
    parser.add_argument(
        "--peak-tflops", type=float, help="bfloat16 peak of the device, where it is not known"
    )
    parser.add_argument(
        "-s", "--set", action="append", default=[], metavar="FIELD=VALUE", help="override a field"
    )
    parser.add_argument("--seed", type=int, help="the seed from which every random choice follows")
    return parser.parse_args()


def main() -> int:
    """Run all recipes, then judge and draw them together; 1 if one of them could not be finished."""
    options = arguments()
    from clock import Budget
    from report import report

    from arith_shared.errors import ArithError
    from arithctl import recipes
    from pipeline import run_recipe

    names = options.recipes.split(",")
    budget = Budget(60 * options.budget_min)
    overrides = [recipes.parse_override(text) for text in options.set]
    if options.target:
        overrides.insert(0, ("lm.training.stop_at_accuracy", options.target))
    finished, failed = [], 0
    for left, name in zip(range(len(names), 0, -1), names, strict=True):
        try:
            spec = recipes.load(name).resolve(overrides, options.seed)
            finished.append(run_recipe(name, spec, options.work, budget.share(left), options.peak_tflops))
        except ArithError as error:
            failed += 1
            sys.stderr.write(f"{name}: {error}\n")
    if finished:
        report(finished, options.out, sys.argv[1:])
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
