"""The flow on a schedule."""

import logging

from flows.config import RunConfig
from flows.running import prefect
from minigpt.errors import InputError
from tasks.tracking_settings import Tracking

log = logging.getLogger(__name__)


def schedule(config: RunConfig, cron: str, tracking: Tracking) -> None:
    """Serve the flow until Ctrl-C; each run is a process of its own, one at a time."""
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    try:
        times = Cron(cron)
    except ValueError as error:
        raise InputError(f"--cron {cron!r} is no cron expression; give five fields, such as '0 3 * * *'") from error
    settings = tracking.model_copy(update={"offline_if_unreachable": True})
    with prefect(settings) as server:
        from flows.pretraining import pretrain

        log.warning("%s runs at %r until Ctrl-C; Prefect shows it at %s/deployments", config.name, cron, server.url)
        pretrain.serve(
            name=config.name,
            schedule=times,
            parameters={"config": config.model_dump(mode="json"), "tracking": settings.model_dump(mode="json")},
            entrypoint_type=EntrypointType.MODULE_PATH,
            print_starting_message=False,
            limit=1,
        )
