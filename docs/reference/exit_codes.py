"""The page of the exit codes."""

from docs.reference.tables import table
from flows.cli.main import RERUN_DIFFERS
from minigpt.errors import FAILED, INPUT_IS_WRONG

CODES = {
    0: "The command did what it was asked for. A training has status `completed` or `stopped_early`.",
    FAILED: "The training diverged, was stopped or failed; `verify` found something wrong; the disk is full; or there "
    "is a bug in minigpt, which alone shows a traceback.",
    INPUT_IS_WRONG: "The input is wrong: a command line, a config, a text, a run that does not exist. Also a tracking "
    "server that does not answer. The last line on standard error names the value, the limit and the way out.",
    RERUN_DIFFERS: "`minigpt rerun` has ended, and its result is not the same to the bit. The command names the first "
    "step and the facts that differ.",
}
HEAD = """# Exit codes

A script can rely on these codes. With `--json`, where a command has it, standard output carries one JSON value and
nothing else; every message goes to standard error.
"""
TAIL = """
Ctrl-C, SIGTERM and a closed terminal end a command with 1 as well. The training process first writes a full checkpoint,
and `minigpt resume` goes on from it.
"""


def page() -> str:
    rows = ((str(number), meaning) for number, meaning in sorted(CODES.items()))
    return "\n".join([HEAD, table(("code", "meaning"), rows), TAIL])
