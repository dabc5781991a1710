"""The groups of a spec: task, training, the OPT decoder, extraction and probes.

Every value that the paper states or leaves open is a field here; the recipes (YAML, shipped with the
command line) give the values and name the paper's table for each. Section numbers in the comments are
those of the paper; "gap x" names a decision where the paper is silent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from arith_shared.problems import (
    Distribution,
    Lesson,
    NumberTokens,
    Split,
    Token,
    Values,
    general_distribution,
    layout_distribution,
    probed_tokens,
)

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class Frozen(BaseModel):
    """A group of fields: immutable, complete, and without unknown ones."""

    # Pydantic's lax mode on purpose: a tuple is a list in YAML and JSON, and PyYAML takes 1e-3 for a text.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class TaskSpec(Frozen):
    """The arithmetic problems (section 2.1, appendix B)."""

    layout: Literal["eq1", "level-1", "level-2", "level-3", "level-4", "level-5"] = "eq1"
    """Sequence of formulas that is evaluated and probed; `eq1` is the paper's equation 1."""
    training: Literal["same", "general"] = "same"
    """What the LM is trained on: the evaluated layout only (specialised), or random combinations of at
    most three formulas (general; gap e)."""
    lengths: Literal["templates", "uniform"] = "templates"
    """General training only: all 42 templates equally likely, or first a length, then a template (gap e)."""
    max_number: Annotated[int, Field(ge=1, le=999)] = 99
    """Largest natural number in the text."""
    values: Values = "in_range"
    """Whether problems with any value outside 0 to `max_number` are rejected, or values may be negative and larger
    (gap b)."""
    number_tokens: NumberTokens = "number"
    """For LMs trained here: a token for each number, or for each digit of it, padded with zeros to the digits of the
    largest (gap a). The state at a number is that of its last digit."""
    names: Annotated[int, Field(ge=1, le=26)] = 25
    """How many lower-case letters serve as variable names (gap g)."""
    chain: Literal["none", "short", "backtrack"] = "none"
    """What the LM writes before the answer: nothing, the paper's equation 3, or the chain of the authors'
    later code (gap r)."""
    separator: Literal[";", ","] = ";"
    """The sign between definition and question (gap w)."""
    question: Literal["=", "=?"] = "="
    """How the question ends: `A=`, or `A=?` as in front of a chain (section 4.1, gap w)."""

    def evaluation(self) -> Distribution:
        """The distribution whose problems are answered, extracted and probed."""
        return layout_distribution(
            self.layout,
            max_number=self.max_number,
            names=self.names,
            separator=self.separator,
            question=self.question,
            values=self.values,
            number_tokens=self.number_tokens,
        )

    def source(self, split: Split) -> dict[str, Any]:
        """What, beside the seed, determines problem i of a split; how it is written does not."""
        return {
            "split": split,
            **self.model_dump(mode="json", include={"layout", "max_number", "names", "values"}),
        }

    def probed_tokens(self) -> tuple[Token, ...]:
        """The tokens whose hidden states are read: the question's, and the chain's where there is one."""
        (layout,) = self.evaluation().layouts
        return probed_tokens(layout, self.chain)

    def training_distribution(self) -> Distribution:
        """The distribution that the LM is trained on."""
        if self.training == "same":
            return self.evaluation()
        return general_distribution(
            max_number=self.max_number,
            names=self.names,
            lengths=self.lengths,
            separator=self.separator,
            question=self.question,
            values=self.values,
            number_tokens=self.number_tokens,
        )


class TrainingSpec(Frozen):
    """How the LM is trained (table 2)."""

    problems: PositiveInt = 200_000
    """Distinct draws in the training set."""
    epochs: PositiveInt = 500
    batch_tokens: PositiveInt = 16_384
    """Token budget of a batch, padding included (gap n)."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Table 2 says Adam; the authors' later code uses AdamW (gap l)."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    lr: Annotated[float, Field(gt=0)] = 3e-5
    """Peak learning rate."""
    warmup_steps: Annotated[int, Field(ge=0)] = 500
    final_lr_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Where the cosine schedule ends, as a fraction of the peak."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of the gradient."""
    loss: Literal["answer", "sequence"] = "answer"
    """Tokens that carry loss: answer and EOS, or every token (gap m)."""
    questions: Literal["one", "all"] = "one"
    """Which variables are asked for: the one of the layout, or each, of one definition in one step. Then only
    definitions are used of which the training split owns every question."""
    course: tuple[Lesson, ...] = ()
    """Lessons before the training set: look-up alone, sums that need no other formula, and all with the deeper ones
    more often. Their learning rate is the peak; the schedule's fall is that of the training set."""
    lesson_problems: PositiveInt = 200_000
    """Draws of each lesson at most, read once."""
    lesson_accuracy: Annotated[float, Field(gt=0, le=1)] = 0.97
    """Validation accuracy on a lesson's own problems at which the next one begins."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Compute dtype of forward and backward; weights and optimiser state stay float32."""
    evaluate_every: PositiveInt = 500
    """Steps between evaluations on the validation split."""
    evaluate_problems: PositiveInt = 1_000
    stop_at_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    """Stop early once the validation accuracy reaches this; None trains to the end, as the paper does."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds between checkpoints; affects what a killed worker loses, never the result."""

    @model_validator(mode="after")
    def _course_fits(self) -> TrainingSpec:
        if len(set(self.course)) != len(self.course):
            raise ValueError(f"course {list(self.course)} must name each lesson once")
        if self.questions == "all" and self.loss == "sequence":
            raise ValueError(
                "questions all with loss sequence: a definition has no loss there; choose loss answer"
            )
        return self


class OptSpec(Frozen):
    """An OPT decoder trained from scratch (section 3.1, appendix A.2)."""

    kind: Literal["opt"] = "opt"
    layers: PositiveInt = 8
    heads: PositiveInt = 16
    width: PositiveInt = 1024
    ffn: PositiveInt = 4096
    """Width of the feed-forward layer (gap k)."""
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.0
    init_std: Annotated[float, Field(gt=0)] = 0.02
    position_std: Annotated[float, Field(gt=0)] = 0.02
    """Initial standard deviation of the learned position embeddings."""
    number_embeddings: Literal["sinusoidal", "random"] = "sinusoidal"
    """Appendix A.2: sinusoids indexed by the number."""
    embedding_std: Annotated[float, Field(gt=0)] = 0.02
    """Standard deviation of the random embeddings of all other tokens."""
    freeze_embeddings: bool = True
    tie_head: bool = False
    """Frozen embeddings exclude a tied output head (gap k)."""
    training: TrainingSpec = TrainingSpec()

    @property
    def problems_per_text(self) -> int:
        """Every problem is a text of its own; `MistralSpec` has a field."""
        return 1

    @model_validator(mode="after")
    def _shapes_fit(self) -> OptSpec:
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not a multiple of heads {self.heads}; choose one that is"
            )
        if self.width % 2:
            raise ValueError(f"width {self.width} is odd; sinusoidal embeddings need pairs of features")
        if self.tie_head and self.freeze_embeddings:
            raise ValueError("tie_head would freeze the output head too; set freeze_embeddings to false")
        return self


class ExtractSpec(Frozen):
    """Which hidden states are written (section 2.2, table 1)."""

    n_train: Annotated[int, Field(ge=2)] = 10_000
    """Solved problems that probes are fitted on (table 1)."""
    n_eval: Annotated[int, Field(ge=2)] = 2_000
    """Problems that probes are evaluated on (section 2.1)."""
    shard_problems: PositiveInt = 2_000
    """Problems per shard, solved or not."""
    max_tries: Annotated[float, Field(ge=1)] = 4.0
    """Shards are added until enough problems are solved, up to this multiple of what is wanted (gap t)."""
    keep: Literal["solved", "solved_to_fit", "all"] = "solved"
    """Problems whose hidden states are written: only those the LM solved, those for fitting and all for evaluation,
    or all (gap s)."""
    criterion: Literal["chain", "answer"] = "chain"
    """What makes a problem solved: the whole output is the gold one (gap o), or its last value is. For the second
    the outputs that differ from the gold chain are decoded; states are read along the gold chain in any case."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype of the weights that are loaded, and of the forward pass."""
    dtype: Literal["float16", "bfloat16"] = "float16"
    """Storage dtype; a state that would overflow is an error, never an infinity."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Layers to write (0 = embedding output); None = all."""
    positions: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Positions to write and probe (0 = first token of the question); None = all."""
    keep_states: bool = True
    """Whether hidden states stay after their probes are fitted; else `layers_at_once` bounds the disk space."""
    layers_at_once: PositiveInt | None = None
    """Layers that are extracted, probed and, without `keep_states`, deleted before the next ones; None = all."""
    batch_problems: PositiveInt = 500

    def keeps_all(self, split: str) -> bool:
        """Whether the states of unsolved problems of `split` are written too."""
        return self.keep == "all" or (self.keep == "solved_to_fit" and split == "test")


class MlpSpec(Frozen):
    """The paper's probe (appendix A.1, table 1): two layers, ReLU, full-batch SGD from PyTorch's init."""

    epochs: PositiveInt = 30
    lr: Annotated[float, Field(gt=0)] = 1e-3
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of a fit's matrix products; weights, loss, update and what the fitted probe predicts stay float32."""


class RidgeSpec(Frozen):
    """A linear probe in closed form, beside the paper's: the penalty is chosen by generalised cross-validation."""

    penalties: tuple[Annotated[float, Field(gt=0)], ...] = tuple(10.0**k for k in range(-4, 5))
    """Candidates for the penalty, relative to the mean eigenvalue of the features' covariance."""


class ProbeSpec(Frozen):
    """How hidden states are read (sections 2.2 and 2.3)."""

    families: tuple[Literal["mlp", "ridge"], ...] = ("mlp", "ridge")
    mlp: MlpSpec = MlpSpec()
    ridge: RidgeSpec = RidgeSpec()
    controls: Annotated[int, Field(ge=0, le=100)] = 1
    """Shuffled-label controls per cell (Hewitt and Liang 2019); their mean is reported; 0 leaves them out."""
    untrained: bool = False
    """Whether the same LM before training is extracted and probed (ridge) as well: what a network of this shape
    gives without having learnt anything."""
    resamples: Annotated[int, Field(ge=0)] = 1_000
    """Bootstrap resamples of the evaluation problems behind each 95 % interval; 0 leaves intervals out."""
    keep_predictions: bool = True
    """Whether each cell's predictions on the evaluation problems are kept: 4 bytes per problem and cell. Without them
    scores cannot be compared problem by problem, nor be drawn as points."""
    block_positions: PositiveInt = 5
    """Positions per unit of work."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Correlation at which a variable counts as emerged."""

    @model_validator(mode="after")
    def _families_once(self) -> ProbeSpec:
        if not self.families or len(set(self.families)) != len(self.families):
            raise ValueError(f"families {list(self.families)} must name each family once, and at least one")
        return self
