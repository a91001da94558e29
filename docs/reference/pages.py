"""The pages of the reference, each generated from the code that it describes."""

from docs.reference import api, commands, config, exit_codes, journal, mlflow, run_folder


def reference_pages() -> dict[str, str]:
    """Path of each page below docs/pages, and its Markdown."""
    return {
        "reference/commands.md": commands.page(),
        "reference/config.md": config.page(),
        "reference/exit-codes.md": exit_codes.page(),
        "reference/run-folder.md": run_folder.page(),
        "reference/journal.md": journal.page(),
        "reference/mlflow.md": mlflow.page(),
        **api.pages(),
    }
