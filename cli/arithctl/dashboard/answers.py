"""Pages from templates, and refusals, as HTML for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

import arith_shared
from arithctl.output import ago, human_duration
from arithctl.output.values import readable

HERE = Path(__file__).parent
#: Titles of refusals.
_TITLES = {
    400: "Not understood",
    401: "Log in",
    403: "Refused",
    404: "Not found",
    405: "Not allowed",
    429: "Wait a moment",
    500: "Something went wrong",
    501: "Not installed",
    503: "Not reachable",
}


def _cell(value: Any) -> str:
    return readable(value, missing="\N{EN DASH}")


_environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals["version"] = arith_shared.__version__
_environment.filters |= {"ago": ago, "duration": human_duration, "cell": _cell}


def page(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """A page, or a part of one."""
    text = _environment.get_template(template).render(values)
    return HTMLResponse(text, status_code=status, headers=dict(headers or {}))


def refusal(scope: Scope, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Say no, in the words that the asker understands; who is not logged in gets the form for it."""
    path = str(scope["path"])
    if wants_json(scope):
        return JSONResponse({"error": message}, status_code=status, headers=dict(headers or {}))
    if status == 401:
        back = path + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
        return page("login.html", status=401, headers=headers, message="", back=back)
    title = _TITLES.get(status, "Refused")
    return page("error.html", status=status, headers=headers, title=title, message=message)


def wants_json(scope: Scope) -> bool:
    """Whether a program asks: by the name of what it asks for, or because it says that it accepts JSON alone."""
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return str(scope["path"]).endswith(".json") or accept.startswith(b"application/json")
