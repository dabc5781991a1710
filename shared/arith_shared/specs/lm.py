"""The LMs beside the paper's OPT decoder that answer after demonstrations: one trained here, or a pretrained one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from arith_shared.problems import POOL, Spacing
from arith_shared.specs.groups import Frozen, TrainingSpec


class PromptSpec(Frozen):
    """What stands before a problem, and how its tokens are written (section 4.1, appendix B)."""

    demonstrations: Annotated[int, Field(ge=0, le=POOL)] = 3
    """Solved problems before the one that is asked (section 4.1), each on a line of its own."""
    demonstration_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Which ones: 0 takes the first of a fixed pool of 100, another number shuffles the pool first (gap q)."""
    spacing: Spacing = "spaced"
    """Whether tokens are written with spaces between them (`a = 1 + b , ...`), or as people write (gap q)."""
    lengths: Literal["equal", "mixed"] = "equal"
    """Problems of different numbers of tokens are refused, or passed through the LM in groups of one length each:
    then states of one position come from different token indices."""


class MistralSpec(Frozen):
    """A small Mistral trained from scratch on texts of several solved problems, so that it can be asked like a
    large pretrained one (section 4)."""

    kind: Literal["mistral"] = "mistral"
    layers: PositiveInt = 3
    heads: PositiveInt = 4
    kv_heads: PositiveInt = 2
    """Heads of keys and values, each shared by heads / kv_heads query heads."""
    width: PositiveInt = 128
    ffn: PositiveInt = 320
    """Width of the gated feed-forward layer."""
    init_std: Annotated[float, Field(gt=0)] = 0.02
    problems_per_text: PositiveInt = 4
    """Solved problems in each training text: the LM learns from all of them what the next one looks like."""
    prompt: PromptSpec = PromptSpec()
    training: TrainingSpec = TrainingSpec()

    @model_validator(mode="after")
    def _shapes_fit(self) -> MistralSpec:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"width {self.width} must be an even multiple of heads {self.heads}: rotary positions turn pairs"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; choose one that is"
            )
        if self.training.questions == "all":
            raise ValueError(
                "training.questions all is for kind opt: texts of several problems have no branches"
            )
        return self


class PretrainedSpec(Frozen):
    """Any causal LM of Hugging Face transformers, read as it is (section 4.1)."""

    kind: Literal["pretrained"] = "pretrained"
    path: Annotated[str, Field(min_length=1)]
    """An id on the Hugging Face Hub, or a folder with config, tokenizer and safetensors weights."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; None = its default branch."""
    layers: PositiveInt
    """Blocks of the LM (num_hidden_layers in its config.json): what a run costs is known before the LM is loaded."""
    width: PositiveInt
    """Features of a hidden state (hidden_size in its config.json)."""
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """How the weights are spread over several GPUs (needs the package accelerate); None = all on one device."""
    prompt: PromptSpec = PromptSpec()
