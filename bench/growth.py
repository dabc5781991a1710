"""How the CPU time of each step grows with problems, layers, width and units, against what its arithmetic says."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from arith_extractor.handler import handle as extract
from arith_model.transformer import build_for
from arith_prober.handler import handle as probe
from arith_shared.problems import sample, texts
from arith_shared.specs import Spec
from arith_shared.store.states import ProblemTable, ShardWriter
from arith_shared.work import Artifact, Context, Unit
from arith_trainer.handler import handle as train
from bench.command import Options, main
from bench.machine import Machine
from bench.race import Contestant, race
from bench.report import FLOOR, Report, Table, Target
from bench.shards import multiplied_weights, small_spec, untrained_lm

#: Tokens of a text, EOS included; table 1's evaluation problems.
TOKENS = 22
#: What a slope may differ by from 1, or be above its arithmetic's.
TOLERANCE = 0.1
#: Problems fitted for each one evaluated, as in the paper.
EVALUATED = 5
#: Steps of the probe family `mlp` (table 1), and the variables that it is fitted for.
EPOCHS, VARIABLES = 30, 3


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to do."""

    problems: int
    layers: int
    width: int
    units: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step, where it starts to grow from, and in what."""

    name: str
    base: Size
    #: Factors by which one of the numbers is multiplied while the others stay.
    factors: Mapping[str, tuple[int, ...]]
    #: Makes what a turn needs in a folder and returns the turn.
    prepare: Callable[[Size, Path], Callable[[], object]]
    #: FLOPs of a turn: what the slopes are held against.
    flops: Callable[[Size], float]

    def sizes(self, number: str) -> list[Size]:
        """The sizes at which one of the numbers grows."""
        return [
            replace(self.base, **{number: factor * getattr(self.base, number)})
            for factor in self.factors[number]
        ]


def measure(options: Options, machine: Machine) -> Report:
    """Each step at several sizes, one number grown at a time; the sizes take turns."""
    report = Report(
        "Growth of each step's CPU time with problems, layers, width and units",
        "The handlers of the services, one thread. Slopes are those of a straight line through the logarithms of "
        "size and CPU time: 1 is linear. `arithmetic` is the slope of the FLOPs over the same sizes; a step may lie "
        f"below it, because what does not grow is part of its time, and at most {TOLERANCE} above.",
    )
    slopes, times = Table("Slopes"), Table("CPU seconds")
    for step in steps(quick=options.quick):
        sizes = {number: step.sizes(number) for number in step.factors}
        seconds = _seconds(step, list(dict.fromkeys(chain.from_iterable(sizes.values()))), options.rounds)
        times.rows += [{"step": step.name, **asdict(size), "CPU s": cpu} for size, cpu in seconds.items()]
        for number, grown in sizes.items():
            xs = [float(getattr(size, number)) for size in grown]
            found = slope(xs, [seconds[size] for size in grown])
            expected = slope(xs, [step.flops(size) for size in grown])
            floor = step.flops(grown[-1]) / (1e9 * machine["gemm_fp32_gflops"]["1"])
            slopes.rows.append(
                {
                    "step": step.name,
                    "in": number,
                    "from": int(xs[0]),
                    "to": int(xs[-1]),
                    "slope": found,
                    "arithmetic": expected,
                    FLOOR: floor / seconds[grown[-1]],
                }
            )
            report.targets.append(target(step.name, number, found, expected))
    report.tables += [slopes, times]
    report.notes.append(
        "FLOPs: 2 per weight and token of a forward pass, 6 of a training step; ridge 2 N d^2 + 9 d^3 per cell; mlp "
        "4 N d^2 per step and variable. Their floor is at the measured float32 rate, at the largest size."
    )
    return report


def target(step: str, number: str, found: float, expected: float) -> Target:
    """Linear in problems, layers and units, in both directions; in width no worse than the arithmetic."""
    shown = f"{found:.2f}"
    if number == "width":
        met = found <= expected + TOLERANCE
        return Target(
            f"{step}: slope in width", f"<= {expected + TOLERANCE:.2f}", shown, "met" if met else "missed",
            "" if met else "more than the arithmetic asks: caches",
        )  # fmt: skip
    met = abs(found - 1) <= TOLERANCE
    why = "what does not grow (opening files, a LM's head, intervals) is still part of the time"
    return Target(
        f"{step}: slope in {number}", f"{1 - TOLERANCE:g} to {1 + TOLERANCE:g}", shown,
        "met" if met else "missed", "" if met else why if found < 1 else "grows faster than its input",
    )  # fmt: skip


def slope(xs: list[float], ys: list[float]) -> float:
    """The exponent of the power law that fits best, by least squares of logarithms."""
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def steps(*, quick: bool) -> list[Step]:
    """All steps with sizes at which what grows is most of their time; `quick` shrinks them until nothing is."""
    less, factors = (40, (1, 2)) if quick else (1, (1, 2, 4))
    in_all = dict.fromkeys(("problems", "layers", "width", "units"), factors)
    in_one_unit = {number: factors for number in in_all if number != "units"}
    return [
        Step(
            "extraction", Size(800 // less, 4, 64, 1), in_all, _extraction,
            lambda size: size.units * size.problems * TOKENS * 2 * _weights(size),
        ),
        Step(
            "ridge", Size(20_000 // less, 2, 128, 1), in_all, partial(_probes, "ridge"),
            lambda size: size.layers * size.units * (2 * size.problems * size.width**2 + 9 * size.width**3),
        ),
        Step(
            "mlp", Size(4_000 // less, 1, 64, 1), in_all, partial(_probes, "mlp"),
            lambda size: size.layers * size.units * VARIABLES * EPOCHS * 4 * size.problems * size.width**2,
        ),
        Step(
            "training", Size(400 // less, 4, 64, 1), in_one_unit, _training,
            lambda size: size.problems * TOKENS * 6 * _weights(size),
        ),
    ]  # fmt: skip


def _seconds(step: Step, sizes: list[Size], rounds: int) -> dict[Size, float]:
    """CPU seconds at each size, medians over rounds."""
    with tempfile.TemporaryDirectory() as name:
        turns = []
        for number, size in enumerate(sizes):
            folder = Path(name) / str(number)
            folder.mkdir()
            turns.append(Contestant(step.name, step.prepare(size, folder), 1))
        sys.stdout.write(f"  {step.name}, {len(sizes)} sizes\n")
        laps = race(turns, rounds, threads=1)
    return dict(zip(sizes, [lap.cpu for lap in laps], strict=True))


def _spec(size: Size, **fields: object) -> Spec:
    shape = {"lm__layers": size.layers, "lm__width": size.width, "lm__ffn": 4 * size.width, "lm__heads": 4}
    return small_spec("tiny-specialized", size.problems, **shape, **fields)


def _weights(size: Size) -> float:
    return multiplied_weights(build_for(_spec(size)))


def _extraction(size: Size, folder: Path) -> Callable[[], object]:
    spec = _spec(size, extract__batch_problems=250)
    lm = untrained_lm(spec, folder / "lm")

    def turn() -> None:
        for number in range(size.units):
            output = _empty(folder / "out")
            payload = {
                "weights": "trained", "split": "probe", "start": number * size.problems, "count": size.problems,
            }  # fmt: skip
            extract(
                spec, Unit("bench", "extract", "shard", 1, payload), Context({"train": [lm]}, output, output)
            )

    return turn


def _probes(family: str, size: Size, folder: Path) -> Callable[[], object]:
    evaluated = size.problems // EVALUATED
    spec = _spec(
        size,
        extract__n_train=size.problems,
        extract__n_eval=evaluated,
        extract__positions=list(range(size.units)),
        probe__families=[family],
        probe__resamples=20,
    )
    shards = [
        _random_shard(spec, size, split, count, folder / split)
        for split, count in (("probe", size.problems), ("test", evaluated))
    ]

    def turn() -> None:
        for layer in range(size.layers):
            for position in range(size.units):
                output = _empty(folder / "out")
                payload = {
                    "weights": "trained",
                    "families": [family],
                    "layer": layer,
                    "positions": [position],
                }
                context = Context({"extract": shards}, output, output)
                probe(spec, Unit("bench", "probe", "block", 1, payload), context)

    return turn


def _random_shard(spec: Spec, size: Size, split: str, count: int, folder: Path) -> Artifact:
    """Hidden states that no LM has made: what they are does not matter to the time that a probe takes."""
    distribution = spec.task.evaluation()
    problems = sample(distribution, split, 0, count, seed=spec.seed)  # type: ignore[arg-type]
    positions = list(range(size.units))
    labels = [spec.task.probed_tokens()[position].label for position in positions]
    rng = np.random.default_rng(0)
    shape = (size.layers, count, size.units, size.width)
    everything = np.ones(count, bool)
    written = [question + output for question, output in texts(problems, distribution, spec.task.chain)]
    folder.mkdir()
    variables = distribution.layouts[0].variables
    with ShardWriter(
        folder, range(size.layers), labels, size.width, "float16", variables, {"model": "none"}, positions
    ) as writer:
        writer.add(rng.standard_normal(shape, dtype=np.float32))
        writer.finish(ProblemTable(problems.index, everything, everything, problems.values, written))
    meta = {"weights": "trained", "split": split, "tried": count, "solved": count, "kept": count}
    return Artifact(split, "states", folder, split, meta)


def _training(size: Size, folder: Path) -> Callable[[], object]:
    texts_at_once = 50
    spec = _spec(
        size,
        lm__training__problems=size.problems,
        lm__training__batch_tokens=texts_at_once * TOKENS,
        lm__training__optimizer="adamw",
        lm__training__warmup_steps=1,
        lm__training__evaluate_every=math.ceil(size.problems / texts_at_once),
        lm__training__evaluate_problems=1,
        lm__training__stop_at_accuracy=None,
        lm__training__checkpoint_every_s=3600.0,
    )

    def turn() -> None:
        output, scratch = _empty(folder / "output"), _empty(folder / "scratch")
        train(spec, Unit("bench", "train", "model", 1, {}), Context({}, output, scratch))

    return turn


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main("growth", measure))
