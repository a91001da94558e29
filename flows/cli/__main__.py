"""`python -P -m flows.cli`: the command line from a checkout that is not installed but in PYTHONPATH."""

from flows.cli.main import main

main()
