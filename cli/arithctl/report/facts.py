"""What a run is and where it comes from, in names and values for a reader."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from arith_shared.errors import SpecError
from arith_shared.ledger.tables import Run
from arith_shared.problems import sample, texts
from arith_shared.specs import Spec
from arithctl import recipes
from arithctl.pretrained import settle

_TRAINING = {
    "same": "the sequence of formulas that it is asked about (specialised)",
    "general": "random combinations of formulas (general)",
}


def example(spec: Spec) -> tuple[str, str]:
    """The first evaluation problem: what the LM reads, and the gold output."""
    distribution = spec.task.evaluation()
    problems = sample(distribution, "test", 0, 1, spec.seed)
    return texts(problems, distribution, spec.task.chain)[0]


def recipe_title(name: str) -> str:
    """The title of a shipped recipe; empty for one of the user's own."""
    return recipes.load(name).title if name in recipes.names() else ""


def facts(spec: Spec, meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Task, LM, states and probes; `meta` is what the training unit has recorded."""
    lm, task = spec.lm, spec.task
    kind = (
        lm.path if lm.kind == "pretrained" else {"opt": "OPT decoder", "mistral": "Mistral decoder"}[lm.kind]
    )
    size = f"{lm.layers} layers, width {lm.width}"
    if meta.get("parameters"):
        size += f", {meta['parameters']:,} parameters"
    trained = "as published" if lm.kind == "pretrained" else f"trained here on {_TRAINING[task.training]}"
    rows = [("LM", f"{kind}: {size}"), ("Training", trained)]
    values = f"every value from 0 to {task.max_number}, {task.names} variable names"
    rows.append(("Problems", f"{values}; chain of thought: {task.chain}"))
    kept = "that the LM solved" if spec.extract.keep == "solved" else "solved or not"
    rows.append(
        ("Probes", f"{', '.join(spec.probe.families)}; fitted on {spec.extract.n_train:,} problems {kept}, "
                   f"evaluated on {spec.extract.n_eval:,} others")
    )  # fmt: skip
    rows.append(("Seed", str(spec.seed)))
    return rows


def provenance(run: Run, devices: str) -> list[tuple[str, str]]:
    """Versions, machine and commit of the submitting side, and the devices that computed."""
    found = run.provenance or {}
    git = found.get("git") or {}
    commit = (
        f"{git['commit']}{' with changes that were not committed' if git.get('dirty') else ''}" if git else ""
    )
    packages = ", ".join(f"{name} {version}" for name, version in (found.get("packages") or {}).items())
    rows = [
        ("Run", run.id),
        ("Recipe", run.recipe),
        ("Spec", f"{run.spec_key} (hash of everything below)"),
        ("Seed", str(run.spec.get("seed", 0))),
        ("Device", devices),
        ("arithctl", str(found.get("arithctl", ""))),
        ("Python", str(found.get("python", ""))),
        ("Packages", packages),
        ("Machine of the submission", str(found.get("platform", ""))),
        ("Commit", commit),
    ]
    return [(name, value) for name, value in rows if value]


def spec_text(spec: Spec) -> str:
    """The spec as YAML: a recipe of one's own that `arithctl submit` takes."""
    return str(yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def command(run: Run, spec: Spec) -> tuple[str, str]:
    """A shell command that submits the same spec again, and a note where it needs a file first."""
    parts = ["arithctl", "submit", run.recipe]
    overrides = _overrides(run.recipe, spec)
    if overrides is None:
        name = f"{run.recipe if run.recipe not in recipes.names() else 'spec'}.yaml"
        return f"arithctl submit {shlex.quote(name)} --wait", f"Save the spec below as {name} first."
    for path, value in overrides:
        parts += ["--seed", str(value)] if path == "seed" else ["-s", f"{path}={json.dumps(value)}"]
    return shlex.join([*parts, "--wait"]), ""


def _overrides(recipe: str, spec: Spec) -> list[tuple[str, Any]] | None:
    """What to set so that the shipped recipe gives `spec`; None if there is no such recipe any more."""
    if recipe not in recipes.names():
        return None
    shipped = recipes.load(recipe)
    try:
        base = shipped.resolve().model_dump(mode="json")
        found = list(_differences(base, spec.model_dump(mode="json")))
        again = settle(shipped.resolve(found))
    except SpecError:
        return None
    return found if again == spec else None


def _differences(
    base: Mapping[str, Any], wanted: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in wanted.items():
        other, place = base.get(name), f"{path}{name}"
        if other == value:
            continue
        if isinstance(value, dict) and isinstance(other, dict) and other.keys() == value.keys():
            yield from _differences(other, value, f"{place}.")
        else:
            yield place, value
