"""`arithctl dashboard`."""

from __future__ import annotations

import importlib.util
import logging

import click

#: What the page is made with, and is missing without the extra.
_NEEDS = ("fastapi", "jinja2", "uvicorn")


@click.command(epilog="Example:  arithctl dashboard --port 8765")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port to serve on; 0 takes any that is free.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve on; another only inside a container.",
)
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
def dashboard(port: int, host: str, show: bool) -> None:
    """Serve a read-only web page of all runs: progress, reports, comparisons, workers, downloads. Ctrl-C ends it.

    Whoever opens it needs the token that is printed, or that ARITH_DASHBOARD_TOKEN or the file
    ARITH_DASHBOARD_TOKEN_FILE holds. On a remote machine, tunnel: ssh -L 8765:127.0.0.1:8765 MACHINE.
    """
    from arith_shared import logs
    from arith_shared.errors import MissingExtraError, UserError
    from arith_shared.settings import load_settings
    from arithctl.connection import warn_of_default_passwords

    if missing := [name for name in _NEEDS if importlib.util.find_spec(name) is None]:
        raise MissingExtraError(
            f"the dashboard needs {', '.join(missing)}: pip install 'arithctl[dashboard]'"
        )
    from arithctl.dashboard import serving
    from arithctl.dashboard.app import application

    settings = load_settings()
    logs.configure(settings.log_format)
    # It tells each time which database it looks at.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    given = settings.dashboard_secret
    if given is not None:
        serving.check_token(given)
    elif host not in ("127.0.0.1", "::1", "localhost"):
        raise UserError(f"--host {host} lets others in: set ARITH_DASHBOARD_TOKEN, and keep it secret")
    warn_of_default_passwords(settings)
    token = given or serving.new_token()
    listener = serving.listen(host, port)
    url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{listener.getsockname()[1]}/"  # noqa: S104
    # What stands behind # never leaves the browser, so the token is in no log; the login page reads it.
    login = f"{url}login#{token}" if given is None else url

    def started() -> None:
        click.echo(f"dashboard: {login}")
        if given is None:
            click.echo(f"token: {token}")
        click.echo("Ctrl-C ends it")
        if show:
            serving.open_browser(login)

    serving.serve(application(settings, token), listener, started=started)
    click.echo("dashboard: ended")
