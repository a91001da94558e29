"""The id of a run, and its first characters, which people read and type."""

SHORT_ID_CHARACTERS = 12


class HasRunId:
    """Base of every value with a `run_id`."""

    run_id: str

    @property
    def short_id(self) -> str:
        return shortened(self.run_id)


def shortened(run_id: str) -> str:
    """The first characters of a run's id, enough to distinguish the runs of a home."""
    return run_id[:SHORT_ID_CHARACTERS]
