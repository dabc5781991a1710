"""The grammar of the problems: a layout is parsed from its own example text, so a layout is data.

In ``"A=1+B, B=2+3, C=4+5; A="`` every digit is a number slot and every ``+`` an operator slot, counted in
reading order; a capital letter is a variable, by its role. A sampled problem puts numbers, signs and
lower-case names into the slots. The cost of this notation: at most nine number slots in a layout.

Kudo et al. 2024, section 2.1, name four basic forms: a number ``A=1``, a copy ``A=B``, two numbers
``A=1+2``, a variable and a number ``A=B+2`` or ``A=1+B``. Anything else is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

TokenKind = Literal["number", "operator", "name", "value", "symbol"]


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text, with what fills it and how it is called in figures."""

    kind: TokenKind
    #: Slot (number, operator) or variable (name, value); 0 for a symbol.
    index: int
    #: As in the layout's text: "A", "=", "1", "+"; a value token carries the value that the example gives.
    label: str


EQUALS, COMMA, SEMICOLON, QUESTION_MARK = (Token("symbol", 0, sign) for sign in "=,;?")

#: The sign between definition and question, and how the question ends.
Separator = Literal[";", ","]
Question = Literal["=", "=?"]

#: The four basic forms by the kinds of their operands, in text order.
_FORMS = (("number",), ("name",), ("number", "number"), ("name", "number"), ("number", "name"))


@dataclass(frozen=True, slots=True)
class Formula:
    """``target = operand`` or ``target = operand operator operand``."""

    target: Token
    operands: tuple[Token, ...]
    operator: Token | None = None

    @property
    def variable(self) -> int:
        """The variable that this formula defines."""
        return self.target.index

    @property
    def needs(self) -> tuple[int, ...]:
        """The variables on the right-hand side."""
        return tuple(operand.index for operand in self.operands if operand.kind == "name")

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The formula as it stands in a text."""
        first, *rest = self.operands
        tail = (self.operator, *rest) if self.operator else ()
        return (self.target, EQUALS, first, *tail)


@dataclass(frozen=True, slots=True)
class Layout:
    """Formulas in text order and a question; made by `parse_layout`."""

    name: str
    text: str
    formulas: tuple[Formula, ...]
    #: The variable asked for, as an index into `variables`.
    question: int
    #: Role letters in alphabetical order.
    variables: tuple[str, ...]
    #: How the text is written; never which problems there are, and in which split.
    separator: Separator = ";"
    question_end: Question = "="

    def definition(self, variable: int) -> Formula:
        """The formula that defines `variable`."""
        return next(formula for formula in self.formulas if formula.variable == variable)

    @property
    def number_slots(self) -> int:
        """How many numbers stand in the text."""
        return sum(token.kind == "number" for token in question_tokens(self))

    @property
    def operator_slots(self) -> int:
        """How many operators stand in the text."""
        return sum(token.kind == "operator" for token in question_tokens(self))

    def by_dependency(self) -> tuple[Formula, ...]:
        """The formulas in an order in which each needs only what stands before it."""
        ordered: list[Formula] = []
        waiting = list(self.formulas)
        while waiting:
            known = {formula.variable for formula in ordered}
            ready = [formula for formula in waiting if known.issuperset(formula.needs)]
            if not ready:
                raise ValueError(
                    f"layout {self.name}: the formulas of {self.text!r} need each other in a circle"
                )
            ordered += ready
            waiting = [formula for formula in waiting if formula not in ready]
        return tuple(ordered)

    def example_values(self) -> tuple[int, ...]:
        """The value of each variable when digits and + in `text` are taken literally."""
        values: dict[int, int] = {}
        for formula in self.by_dependency():
            terms = (
                values[token.index] if token.kind == "name" else int(token.label)
                for token in formula.operands
            )
            values[formula.variable] = sum(terms)
        return tuple(values[variable] for variable in range(len(self.variables)))


def question_tokens(layout: Layout) -> tuple[Token, ...]:
    """The tokens of definition and question, in reading order; 20 for `eq1`."""
    asked = layout.definition(layout.question).target
    separator = SEMICOLON if layout.separator == ";" else COMMA
    end = (EQUALS,) if layout.question_end == "=" else (EQUALS, QUESTION_MARK)
    return (*join_formulas(layout.formulas), separator, asked, *end)


def join_formulas(formulas: Sequence[Formula]) -> tuple[Token, ...]:
    """The tokens of formulas with commas between them."""
    first, *rest = formulas
    return first.tokens + tuple(token for formula in rest for token in (COMMA, *formula.tokens))


def parse_layout(name: str, text: str) -> Layout:
    """Parse an example text; raise ValueError where it is no sequence of basic forms and a question."""
    definition, _, question = text.replace(" ", "").partition(";")
    variables = tuple(sorted(part.partition("=")[0] for part in definition.split(",")))
    parser = _Parser(name, variables, count(), count())
    if len(set(variables)) != len(variables):
        raise ValueError(
            f"layout {name}: {text!r} defines a variable twice; give each formula its own letter"
        )
    if not question.endswith("="):
        raise ValueError(f"layout {name}: {text!r} must end in a question such as '; A='")
    formulas = tuple(parser.formula(part) for part in definition.split(","))
    asked = parser.variable(question.removesuffix("="))
    layout = Layout(name, text, formulas, asked.index, variables)
    layout.by_dependency()
    return layout


@dataclass(frozen=True, slots=True)
class _Parser:
    layout: str
    variables: tuple[str, ...]
    numbers: Iterator[int]
    operators: Iterator[int]

    def formula(self, text: str) -> Formula:
        left, _, right = text.partition("=")
        operands = tuple(self.operand(part) for part in right.split("+"))
        if tuple(operand.kind for operand in operands) not in _FORMS:
            raise ValueError(
                f"layout {self.layout}: {text!r} is none of the forms A=1, A=B, A=1+2, A=B+2, A=1+B"
            )
        operator = Token("operator", next(self.operators), "+") if len(operands) == 2 else None
        return Formula(self.variable(left), operands, operator)

    def operand(self, text: str) -> Token:
        if len(text) == 1 and text in "0123456789":
            return Token("number", next(self.numbers), text)
        return self.variable(text)

    def variable(self, text: str) -> Token:
        if text not in self.variables or not (len(text) == 1 and "A" <= text <= "Z"):
            raise ValueError(
                f"layout {self.layout}: {text!r} is neither a digit nor a capital letter with a formula"
            )
        return Token("name", self.variables.index(text), text)


#: Evaluated layouts. `eq1` is the paper's equation 1; the levels are those of the authors' follow-up
#: (arXiv 2412.01113), whose level 4 has the formulas of equation 1.
LAYOUTS = {
    name: parse_layout(name, text)
    for name, text in {
        "eq1": "A=1+B, B=2+3, C=4+5; A=",
        "level-1": "A=1+B, B=2; A=",
        "level-2": "A=2+3, B=1+A; B=",
        "level-3": "A=1+B, B=2+3; A=",
        "level-4": "A=1+B, B=2+3, C=4+5; A=",
        "level-5": "A=1+B, B=2+C, C=3+4; A=",
    }.items()
}
