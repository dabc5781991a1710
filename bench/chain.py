"""Hidden states of few-shot chains of thought: one teacher-forced pass beside generation token by token."""

from __future__ import annotations

import copy
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import DynamicCache

from arith_extractor.lms import Lm, open_lm
from arith_model.prompts import Texts
from arith_shared.problems import sample
from arith_shared.specs import Spec
from arith_shared.store.states import StateReader
from arith_shared.work import Artifact
from bench.command import Options, main
from bench.machine import Machine, installed
from bench.race import OURS, Contestant, race
from bench.report import Report, Table, at_least, at_most, lap_rows, not_measured, ratio
from bench.shards import extract_shard, multiplied_weights, peak_memory, small_spec, untrained_lm

PLAIN, SHARED = "generate", "generate, prefix read once"
TTT = "generate, prefix read once, a file per problem and layer"
NNSIGHT, LMPROBE = "nnsight trace of the gold chain", "lmprobe extract of the gold chain"


def measure(options: Options, machine: Machine) -> Report:
    """A small Mistral with three demonstrations before each problem."""
    problems, batch = (8, 4) if options.quick else (100, 50)
    shape = {"lm__layers": 1} if options.quick else {"lm__layers": 6, "lm__width": 256, "lm__ffn": 640}
    spec = small_spec("tiny-cot", problems, extract__batch_problems=batch, **shape)
    report = Report(
        "Extraction with a few-shot chain of thought, a small Mistral, written to disk",
        f"{spec.lm.layers} layers, width {spec.lm.width}, float32, {problems} problems in batches of {batch}, "
        f"untrained weights. `{PLAIN}` is transformers' generate with output_hidden_states on prompt and question; "
        f"`{SHARED}` gives it the keys and values of the demonstrations, as keitokudo/TTT does. Both write a float16 "
        f"safetensors file per batch, the cheapest way; `{TTT}` writes that code's files (its layout: the code "
        "itself has no licence and is not run). These write as many tokens as the gold chain has, which arithctl "
        f"reads in one pass. `{NNSIGHT}` and `{LMPROBE}` read demonstrations, question and gold chain at once too; "
        "the first writes as `generate` does, the second its own float32 files of the blocks' outputs.",
    )
    speed, memory = Table("Problems, hidden states of all layers and positions on disk"), Table("Peak memory")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lm = untrained_lm(spec, folder / "lm")
        peers = Peers(spec, lm, folder / "peer")
        contestants = [
            Contestant(OURS, lambda: extract_shard(spec, lm, folder / "ours"), problems),
            Contestant(PLAIN, lambda: peers.generate(shared=False), problems),
            Contestant(SHARED, lambda: peers.generate(shared=True), problems),
            Contestant(TTT, lambda: peers.generate(shared=True, many_files=True), problems),
        ]
        wanted = {PLAIN: 5, SHARED: 5, TTT: 5}
        for package, peer, run in (("nnsight", NNSIGHT, peers.nnsight), ("lmprobe", LMPROBE, peers.lmprobe)):
            if installed(package):
                contestants.append(Contestant(peer, run, problems))
                wanted[peer] = 3
            else:
                why = f"`{package}` is not installed; `make bench` installs it"
                report.targets.append(not_measured(f"{peer}: CPU time / ours", ">= 3x", why))
        floor = peers.flops() / 1e9
        for threads in options.threads:
            laps = race(contestants, options.rounds, threads)
            rate = machine["gemm_fp32_gflops"][str(threads)]
            speed.rows += lap_rows(laps, "problems", threads, floor / rate)
            report.targets += [
                at_least(
                    f"{peer}, {threads} thread(s): CPU time / ours",
                    least,
                    ratio(laps, peer),
                    what_binds(peer),
                )
                for peer, least in wanted.items()
            ]
        apart = peers.apart(folder / "ours")
        many = (1, 2) if options.quick else (1, 8)
        peaks = {shards: peak_memory(spec, lm, folder / "ours", shards) for shards in many}
    memory.rows = [
        {"problems": shards * problems, "MB resident at most": peak} for shards, peak in peaks.items()
    ]
    report.tables += [speed, memory]
    what = f"peak memory, {many[1]} times as many problems / once"
    report.targets.append(at_most(what, 1.05, peaks[many[1]] / peaks[many[0]]))
    report.notes += [
        "Floor: 2 FLOPs per weight for each token of question and output at the measured float32 rate; the "
        "demonstrations are read once and not counted.",
        f"Largest difference of a question's states from `{PLAIN}`: {apart:.1e} of the largest state.",
    ]
    return report


def what_binds(peer: str) -> str:
    """Why a peer comes nearer than was wanted."""
    return TRACED if peer in (NNSIGHT, LMPROBE) else GENERATED


TRACED = (
    "it reads the gold chain in one pass, as arithctl does; the demonstrations, which it reads again for each "
    "problem, are what is left of the difference"
)
GENERATED = (
    "the demonstrations read once are no longer part of the difference; what is left is one pass over the output in "
    "place of one per token, which a CPU, busy with the same FLOPs, gains less from than a GPU"
)


@dataclass(slots=True)
class Peers:
    """Generation on the same texts with the same LM."""

    spec: Spec
    lm: Artifact
    folder: Path

    def generate(self, *, shared: bool, many_files: bool = False) -> None:
        """Generate all problems' outputs and write every hidden state that was computed for them."""
        self.folder.mkdir(exist_ok=True)
        for number, batch in enumerate(self._batches()):
            states = self._states(batch, shared=shared)
            if many_files:
                self._save_each(number, states.half())
            else:
                save_file({"states": states.half().contiguous()}, self.folder / f"{number}.safetensors")

    @torch.no_grad()
    def nnsight(self) -> None:
        """Trace whole texts, demonstrations included, and write every hidden state."""
        self.folder.mkdir(exist_ok=True)
        model = _nnsight_model(str(self.lm.path))
        for number, ids in enumerate(torch.split(self._gold(), self.spec.extract.batch_problems)):
            # Filled from within: what the block itself names does not leave it.
            found: list[Tensor] = []
            with model.trace(ids):
                found.append(model.model.embed_tokens.output.save())
                found.extend(layer.output.save() for layer in model.model.layers)
            states = torch.stack(found)
            save_file({"states": states.half().contiguous()}, self.folder / f"nnsight-{number}.safetensors")

    def lmprobe(self) -> None:
        """Its own extraction of all blocks to disk, without nnsight below it."""
        from lmprobe.extract import extract

        tokenizer = self._open().tokenizer
        if tokenizer is None:
            raise ValueError(f"expected an LM with a tokenizer of its own, found {self.spec.lm.kind}")
        folder = self.folder / "lmprobe"
        shutil.rmtree(folder, ignore_errors=True)
        extract(
            str(self.lm.path),
            [tokenizer.decode(row) for row in self._gold()],
            "all",
            output_dir=str(folder),
            batch_size=self.spec.extract.batch_problems,
            remote=False,
            device="cpu",
            backend="local",
            dtype="float32",
        )

    def _gold(self) -> Tensor:
        """int64[problem, token]: demonstrations, question and gold chain."""
        texts = self._texts()
        gold = torch.from_numpy(texts.ids[:, : int(texts.length[0])])
        return torch.cat([torch.tensor(texts.prefix).expand(len(gold), -1), gold], dim=1)

    def _save_each(self, number: int, states: Tensor) -> None:
        """One file per problem and layer; each a view, so that it holds the storage of all layers."""
        for problem in range(states.shape[1]):
            whole = states[:, problem].contiguous()
            for layer in range(len(whole)):
                torch.save(whole[layer], self.folder / f"{number}-{problem}-{layer}.pt")

    def apart(self, ours: Path) -> float:
        """The largest difference of the first batch's question states, as a share of the largest state."""
        theirs = self._states(next(iter(self._batches())), shared=False).float().numpy()
        texts = self._texts()
        reader = StateReader([ours], theirs.shape[1])
        before, question = len(texts.prefix), int(texts.question_length[0])
        found = [
            np.abs(reader.matrix(layer, position) - theirs[layer, :, before + where]).max()
            for layer in reader.layers
            for position, where in enumerate(texts.where[0].tolist())
            if where < question
        ]
        return float(max(found) / np.abs(theirs).max())

    def flops(self) -> float:
        """FLOPs per problem: 2 per weight and token of question and output; embeddings are looked up."""
        return 2.0 * multiplied_weights(self._open().model) * float(self._texts().length[0])

    def _open(self) -> Lm:
        return open_lm(self.lm, self.spec, "trained")

    def _texts(self) -> Texts:
        count = self.spec.extract.shard_problems
        problems = sample(self.spec.task.evaluation(), "probe", 0, count, seed=self.spec.seed)
        return self._open().texts(self.spec, problems)

    def _batches(self) -> list[Tensor]:
        """int64[problem, token]: questions."""
        texts, size = self._texts(), self.spec.extract.batch_problems
        questions = torch.from_numpy(texts.ids[:, : int(texts.question_length[0])])
        return list(torch.split(questions, size))

    @torch.inference_mode()
    def _states(self, questions: Tensor, *, shared: bool) -> Tensor:
        """float[layer, problem, token, width], without the demonstrations where they were read before."""
        lm, texts = self._open(), self._texts()
        prefix = torch.tensor(texts.prefix).expand(len(questions), -1)
        ids, extra = torch.cat([prefix, questions], dim=1), {}
        if shared:
            cache: DynamicCache = copy.deepcopy(lm.prefix(texts.prefix).cache)
            cache.batch_repeat_interleave(len(questions))
            extra = {"cache": cache}
        new = int(texts.length[0] - texts.question_length[0])
        result = lm.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=new,
            min_new_tokens=new,
            output_hidden_states=True,
            return_dict_in_generate=True,
            **extra,
        )
        layers = range(self.spec.lm.layers + 1)
        return torch.stack(
            [torch.cat([step[layer] for step in result.hidden_states], dim=1) for layer in layers]
        )


@lru_cache(maxsize=1)
def _nnsight_model(folder: str) -> Any:
    """The LM as nnsight wraps it, opened once."""
    from nnsight import TransformersModel

    return TransformersModel(folder, task="text-generation", device_map={"": "cpu"}, dispatch=True)


if __name__ == "__main__":
    sys.exit(main("chain", measure))
