"""`python -m arithctl`."""

from arithctl.main import main

main(prog_name="arithctl")
