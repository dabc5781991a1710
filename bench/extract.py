"""Hidden states without a chain: the extractor beside a forward pass that keeps nothing, and other ways to keep."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from arith_extractor.lms import open_lm
from arith_shared.problems import sample
from arith_shared.specs import Spec
from arith_shared.store.states import StateReader
from arith_shared.work import Artifact
from bench.command import Options, main
from bench.machine import Machine, installed
from bench.race import OURS, Contestant, race
from bench.report import Report, Table, at_least, lap_rows, not_measured, ratio
from bench.shards import extract_shard, multiplied_weights, small_spec, untrained_lm

BARE, MEMMAP = "bare forward, nothing kept", "npy memmap"
DATASETS, ELK = "datasets, Array2D (as SAELens)", "one problem at a time, Arrow int16 (as elk)"
WHY = (
    "the processor binds: rounding, laying out and writing run behind the next batch, but on the same cores, all of "
    "which the forward uses; making problems and texts comes before it"
)
#: Problems of a turn for the way that takes one at a time.
FEW = 50


def measure(options: Options, machine: Machine) -> Report:
    """An OPT decoder of 4 layers, width 256, on problems of 20 tokens."""
    problems, batch = (20, 10) if options.quick else (500, 250)
    shape = {"lm__layers": 1} if options.quick else {"lm__layers": 4, "lm__width": 256, "lm__ffn": 1024}
    spec = small_spec("tiny-specialized", problems, extract__batch_problems=batch, **shape)
    report = Report(
        "Extraction without a chain, a small OPT decoder, written to disk",
        f"{spec.lm.layers} layers, width {spec.lm.width}, 20 tokens, {problems:,} problems in batches of {batch}, "
        "float32 throughout (bfloat16 is emulated on processors like this one), states kept as float16. arithctl's "
        f"unit also makes the problems, judges the answers and writes the table of problems. `{BARE}` reads the same "
        "tokens, the answer included; the other ways read the question alone.",
    )
    speed = Table("Problems, hidden states of all layers and positions on disk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lm = untrained_lm(spec, folder / "lm")
        ways = Ways(spec, lm, folder)
        contestants = [
            Contestant(OURS, lambda: extract_shard(spec, lm, folder / "ours"), problems),
            Contestant(BARE, ways.bare, problems),
            Contestant(MEMMAP, ways.memmap, problems),
            Contestant(ELK, ways.elk, min(FEW, problems)),
        ]
        if installed("datasets"):
            contestants.append(Contestant(DATASETS, ways.datasets, problems))
        else:
            report.targets.append(
                not_measured(DATASETS, "-", "`datasets` is not installed; `make bench` installs it")
            )
        for threads in options.threads:
            laps = race(contestants, options.rounds, threads)
            floor = ways.flops() / (1e9 * machine["gemm_fp32_gflops"][str(threads)])
            speed.rows += lap_rows(laps, "problems", threads, floor)
            for clock in ("cpu", "wall"):
                what = f"{threads} thread(s): {clock} time of a bare float32 forward / ours"
                report.targets.append(at_least(what, 0.9, ratio(laps, BARE, clock), WHY, unit=""))
        apart = ways.apart(folder / "ours")
    report.tables.append(speed)
    report.targets.append(
        not_measured(
            "share of a bare bfloat16 forward", ">= 0.9", "needs a processor with bfloat16 instructions"
        )
    )
    report.notes += [
        "Floor: 2 FLOPs per weight and token at the measured float32 rate.",
        f"Largest difference of our states from `{MEMMAP}`: {apart:.1e} (both float16, the same forward).",
    ]
    return report


@dataclass(slots=True)
class Ways:
    """The same LM on the same problems, kept in other ways or not at all."""

    spec: Spec
    lm: Artifact
    folder: Path

    @torch.inference_mode()
    def bare(self) -> None:
        """Logits alone, of the question and the answer that a verdict needs."""
        model = open_lm(self.lm, self.spec, "trained").model
        for ids in torch.split(self._ids(answer=True), self.spec.extract.batch_problems):
            model(ids, use_cache=False)

    def memmap(self) -> None:
        """float16[layer, problem, position, width] in one file."""
        shape = (
            self.spec.lm.layers + 1,
            self.spec.extract.shard_problems,
            self._ids().shape[1],
            self.spec.lm.width,
        )
        kept = np.lib.format.open_memmap(self.folder / "states.npy", "w+", np.float16, shape)
        start = 0
        for states in self._states():
            kept[:, start : start + states.shape[1]] = states.half().numpy()
            start += states.shape[1]
        kept.flush()

    def datasets(self) -> None:
        """A datasets folder, a row per problem and a column per layer, a shard per batch joined at the end."""
        import datasets

        datasets.disable_progress_bars()
        width, positions = self.spec.lm.width, self._ids().shape[1]
        features = datasets.Features(
            {
                f"layer_{layer}": datasets.Array2D((positions, width), "float16")
                for layer in range(self.spec.lm.layers + 1)
            }
        )
        parts = []
        for states in self._states():
            halves = states.half().numpy()
            columns = {name: halves[layer] for layer, name in enumerate(features)}
            parts.append(datasets.Dataset.from_dict(columns, features=features))
        datasets.concatenate_datasets(parts).save_to_disk(str(self.folder / "datasets"))

    @torch.inference_mode()
    def elk(self) -> None:
        """A row per problem, written as it comes; float16 bits as int16."""
        names = [f"layer_{layer}" for layer in range(self.spec.lm.layers + 1)]
        schema = pa.schema([(name, pa.list_(pa.int16())) for name in names])
        with (
            pa.OSFile(str(self.folder / "elk.arrow"), "wb") as file,
            pa.ipc.new_stream(file, schema) as writer,
        ):
            for states in self._states(1, min(FEW, self.spec.extract.shard_problems)):
                bits = states.half().numpy().view(np.int16).reshape(len(names), 1, -1)
                columns = [pa.array(list(layer), pa.list_(pa.int16())) for layer in bits]
                writer.write_batch(pa.record_batch(columns, schema=schema))

    def flops(self) -> float:
        """FLOPs per problem."""
        return 2.0 * multiplied_weights(open_lm(self.lm, self.spec, "trained").model) * self._ids().shape[1]

    def apart(self, ours: Path) -> float:
        """How far our stored states are from those in the memmap, which `memmap` has written."""
        theirs: NDArray[np.float16] = np.load(self.folder / "states.npy", mmap_mode="r")
        reader = StateReader([ours], theirs.shape[1])
        found = [
            np.abs(reader.matrix(layer, position) - theirs[layer, :, position]).max()
            for layer in reader.layers
            for position in (0, 10, 19)
        ]
        return float(max(found))

    @torch.inference_mode()
    def _states(self, size: int | None = None, count: int | None = None) -> Iterator[Tensor]:
        model = open_lm(self.lm, self.spec, "trained").model
        for ids in self._batches(size, count):
            yield torch.stack(model(ids, use_cache=False, output_hidden_states=True).hidden_states)

    def _ids(self, *, answer: bool = False) -> Tensor:
        problems = sample(
            self.spec.task.evaluation(), "probe", 0, self.spec.extract.shard_problems, seed=self.spec.seed
        )
        texts = open_lm(self.lm, self.spec, "trained").texts(self.spec, problems)
        return torch.from_numpy(texts.ids[:, : len(self.spec.task.probed_tokens()) + answer])

    def _batches(self, size: int | None = None, count: int | None = None) -> list[Tensor]:
        return list(torch.split(self._ids()[:count], size or self.spec.extract.batch_problems))


if __name__ == "__main__":
    sys.exit(main("extract", measure))
