"""The id of a run, and the beginning of it that people read and type."""

SHORT_ID_CHARACTERS = 12


class HasRunId:
    """Base of every value that belongs to one run."""

    run_id: str

    @property
    def short_id(self) -> str:
        return shortened(self.run_id)


def shortened(run_id: str) -> str:
    """The beginning of a run's id, long enough to name it among the runs of a home."""
    return run_id[:SHORT_ID_CHARACTERS]
