"""Every field of a recipe with its value, where that comes from, and what else it could be.

Sources are read from the recipe's own comments, so that there is one place to write them, and a recipe of the
user's explains itself the same way. Alternatives of a closed choice come from the spec's types, others from the
comment; gaps from the list of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import yaml
from pydantic import BaseModel

from arithctl.recipes import Recipe
from arithctl.recipes.gaps import GAPS, letters

#: Where the paper states a value.
_PLACE = re.compile(r"Kudo et al\. 2024, ((?:table|figure|section|appendix) [\w.]*\w(?:, equation \d)?)")
#: The end of a comment that names other choices.
_OR = re.compile(r"; (or [^;]*|up to [^;]*|any [^;]*|null [^;]*)$")


class Explained(NamedTuple):
    """One field; `paper` is the table or section that states its value, None where the paper does not."""

    field: str
    value: Any
    paper: str | None
    source: str
    gaps: str
    alternatives: str


def explain(recipe: Recipe) -> list[Explained]:
    """Explain every field that the resolved recipe has, in the order of the spec."""
    comments = _comments(recipe.text)
    rows = []
    for path, value, annotation in _fields(recipe.resolve()):
        comment = comments.get(path, "default of the spec")
        tail = _OR.search(comment)
        choices = _choices(annotation, value)
        rows.append(
            Explained(
                field=path,
                value=value,
                paper=_stated(comment),
                source=comment[: tail.start()] if tail else comment,
                gaps=letters(path),
                alternatives=choices or (tail[1].removeprefix("or ") if tail else _bounds(annotation)),
            )
        )
    return rows


def open_questions(recipe: Recipe) -> list[dict[str, str]]:
    """The gaps that fields of this recipe decide: letter, question, resolution, fields."""
    there = {path for path, _, _ in _fields(recipe.resolve())}
    return [
        {**gap._asdict(), "fields": ", ".join(field for field in gap.fields if field in there)}
        for gap in GAPS
        if there.intersection(gap.fields)
    ]


def _stated(comment: str) -> str | None:
    """The place of a value that is the paper's; the place of one that was changed is no source."""
    found = _PLACE.match(comment)
    return found[1] if found else None


def _comments(text: str) -> dict[str, str]:
    lines = text.splitlines()
    found: dict[str, str] = {}

    def walk(node: yaml.Node | None, path: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                walk(value, f"{path}.{key.value}" if path else str(key.value))
            return
        if node is None:
            return
        end = node.end_mark
        rest = lines[end.line][end.column :] if end.line < len(lines) else ""
        if rest.strip().startswith("#"):
            found[path] = rest.strip().removeprefix("#").strip()

    walk(yaml.compose(text, Loader=yaml.SafeLoader), "")
    return found


def _fields(group: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Path, JSON value and type of every value below `group`."""
    dumped: Mapping[str, Any] = group.model_dump(mode="json")
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from _fields(value, f"{prefix}{name}.")
        else:
            annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            yield f"{prefix}{name}", dumped[name], annotation


def _choices(annotation: Any, value: Any) -> str:
    """The other members of a closed choice; empty where the choice is open."""
    if annotation is bool:
        return str(not value).lower()
    if get_origin(annotation) is Literal:
        return ", ".join(str(choice) for choice in get_args(annotation) if choice != value)
    return ""


#: Words for pydantic's constraints.
_CONSTRAINTS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))


def _bounds(annotation: Any) -> str:
    """Limits of a number, e.g. ``> 0, <= 1``; ``null`` where it may be left out."""
    limits: list[str] = []
    for part in _parts(annotation):
        limits += [f"{sign} {getattr(part, name)}" for name, sign in _CONSTRAINTS if hasattr(part, name)]
        if part is type(None):
            limits.append("null")
    return ", ".join(dict.fromkeys(limits))


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    # Field(ge=0, lt=1) keeps its limits in a list of its own.
    for part in (*get_args(annotation), *getattr(annotation, "metadata", ())):
        yield from _parts(part)
