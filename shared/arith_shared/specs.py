"""What an experiment is: a frozen, validated, hashable description, and nothing about where it runs.

Every value that the paper states or leaves open is a field here; the recipes (YAML, shipped with the
command line) give the values and name the paper's table for each. Section numbers in the comments are
those of the paper; "gap x" names a decision where the paper is silent.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from arith_shared.errors import SpecError
from arith_shared.problems import Distribution, general_distribution, layout_distribution

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Frozen(BaseModel):
    # Pydantic's lax mode on purpose: a tuple is a list in YAML and JSON, and PyYAML takes 1e-3 for a text.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class TaskSpec(_Frozen):
    """The arithmetic problems (section 2.1, appendix B)."""

    layout: Literal["eq1", "level-1", "level-2", "level-3", "level-4", "level-5"] = "eq1"
    """Sequence of formulas that is evaluated and probed; `eq1` is the paper's equation 1."""
    training: Literal["same", "general"] = "same"
    """What the LM is trained on: the evaluated layout only (specialised), or random combinations of at
    most three formulas (general; gap e)."""
    lengths: Literal["templates", "uniform"] = "templates"
    """General training only: all 42 templates equally likely, or first a length, then a template (gap e)."""
    max_number: Annotated[int, Field(ge=1, le=999)] = 99
    """Largest natural number in the text, and the largest value any variable may take (gap b)."""
    names: Annotated[int, Field(ge=1, le=26)] = 25
    """How many lower-case letters serve as variable names (gap g)."""
    chain: Literal["none", "short", "backtrack"] = "none"
    """What the LM writes before the answer: nothing, the paper's equation 3, or the chain of the authors'
    later code (gap r)."""

    def evaluation(self) -> Distribution:
        """The distribution whose problems are answered, extracted and probed."""
        return layout_distribution(self.layout, max_number=self.max_number, names=self.names)

    def training_distribution(self) -> Distribution:
        """The distribution that the LM is trained on."""
        if self.training == "same":
            return self.evaluation()
        return general_distribution(max_number=self.max_number, names=self.names, lengths=self.lengths)


class TrainingSpec(_Frozen):
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
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Compute dtype of forward and backward; weights and optimiser state stay float32."""
    evaluate_every: PositiveInt = 500
    """Steps between evaluations on the validation split."""
    evaluate_problems: PositiveInt = 1_000
    stop_at_accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    """Stop early once the validation accuracy reaches this; None trains to the end, as the paper does."""
    checkpoint_every_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds between checkpoints; affects what a killed worker loses, never the result."""


class OptSpec(_Frozen):
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


class ExtractSpec(_Frozen):
    """Which hidden states are written (section 2.2, table 1)."""

    n_train: Annotated[int, Field(ge=2)] = 10_000
    """Solved problems that probes are fitted on (table 1)."""
    n_eval: Annotated[int, Field(ge=2)] = 2_000
    """Problems that probes are evaluated on (section 2.1)."""
    shard_problems: PositiveInt = 2_000
    """Problems per shard, solved or not."""
    max_tries: Annotated[float, Field(ge=1)] = 4.0
    """Shards are added until enough problems are solved, up to this multiple of what is wanted (gap t)."""
    keep: Literal["solved", "all"] = "solved"
    """Problems whose hidden states are written: only those the LM solved, or all (gap s)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Compute dtype of the forward pass."""
    dtype: Literal["float16", "bfloat16"] = "float16"
    """Storage dtype; a state that would overflow is an error, never an infinity."""
    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Layers to write (0 = embedding output); None = all."""
    batch_problems: PositiveInt = 500


class MlpSpec(_Frozen):
    """The paper's probe (appendix A.1, table 1): two layers, ReLU, full-batch SGD from PyTorch's init."""

    epochs: PositiveInt = 30
    lr: Annotated[float, Field(gt=0)] = 1e-3


class RidgeSpec(_Frozen):
    """A linear probe in closed form, beside the paper's: the penalty is chosen by generalised cross-validation."""

    penalties: tuple[Annotated[float, Field(gt=0)], ...] = tuple(10.0**k for k in range(-4, 5))
    """Candidates for the penalty, relative to the mean eigenvalue of the features' covariance."""


class ProbeSpec(_Frozen):
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
    block_positions: PositiveInt = 5
    """Positions per unit of work."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Correlation at which a variable counts as emerged."""

    @model_validator(mode="after")
    def _families_once(self) -> ProbeSpec:
        if not self.families or len(set(self.families)) != len(self.families):
            raise ValueError(f"families {list(self.families)} must name each family once, and at least one")
        return self


class Spec(_Frozen):
    """A complete experiment."""

    task: TaskSpec = TaskSpec()
    lm: OptSpec = OptSpec()
    extract: ExtractSpec = ExtractSpec()
    probe: ProbeSpec = ProbeSpec()
    seed: Seed = 0
    """Every random choice follows from it: problems, initialisation, data order, probes, bootstrap."""

    @model_validator(mode="after")
    def _is_possible(self) -> Spec:
        # Building the distributions checks that names and numbers suffice for the layouts.
        self.task.evaluation()
        self.task.training_distribution()
        for layer in self.extract.layers or ():
            if layer > self.lm.layers:
                raise ValueError(
                    f"extract.layers names layer {layer}; this LM has layers 0 to {self.lm.layers}"
                )
        return self


def parse_spec(data: Mapping[str, Any]) -> Spec:
    """Validate `data` as a spec; raise SpecError with one line per mistake, each with the remedy."""
    try:
        return Spec.model_validate(data)
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors(include_url=False)]
        raise SpecError("\n".join(lines)) from None


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return `data` with dotted paths set, e.g. ``("probe.mlp.epochs", 60)``; `data` is left as it is."""
    result = {key: _copy(value) for key, value in data.items()}
    for path, value in overrides:
        node = result
        *parents, leaf = path.split(".")
        for name in parents:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise SpecError(f"{path}: {name} is a value, not a group of fields")
        node[leaf] = value
    return result


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _explain(detail: Mapping[str, Any]) -> str:
    location = [part for part in detail["loc"] if isinstance(part, str)]
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{path}: unknown field{_nearest(location)}"
    if detail["type"] == "model_type":
        return f"{path}: expected a group of fields, found {detail['input']!r}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if not path:
        return message
    found = f" (found {detail['input']!r})" if not isinstance(detail["input"], Mapping | BaseModel) else ""
    return f"{path}: {message}{found}"


def _nearest(location: Sequence[str]) -> str:
    """Name the field of that name in another group, else the one in the same group that comes closest."""
    *group, name = location
    paths = [path.split(".") for path in field_paths()]
    if elsewhere := [path for path in paths if path[-1] == name]:
        return f"; did you mean {'.'.join(elsewhere[0])}?"
    siblings = sorted({path[len(group)] for path in paths if path[: len(group)] == group})
    close = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; valid fields are {', '.join(siblings)}"


def field_paths(model: type[BaseModel] = Spec, prefix: str = "") -> list[str]:
    """The dotted path of every value of a spec, e.g. ``probe.mlp.epochs``."""
    paths = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            paths += field_paths(kind, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths
