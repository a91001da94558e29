"""`python -P -m flows.cli`: the command from a checkout that is not installed, with PYTHONPATH naming the checkout."""

from flows.cli.main import main

main()
