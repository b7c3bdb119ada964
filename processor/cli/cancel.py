"""`tokenstream responses cancel`: asks the producer of a response to end it, by a record on the `controls` topic."""

from typing import TYPE_CHECKING, Annotated

import typer

from processor.cli.shared import Config, quiet_logs, read_settings, run_async, visible
from processor.errors import Fatal

if TYPE_CHECKING:
    from processor.config.settings import Settings
    from processor.ports.store import Summary


class CancelRefused(Fatal):
    """Nothing was written."""


def cancel(
    response: Annotated[str, typer.Argument(metavar="ID")],
    *,
    channel: Annotated[
        str | None,
        typer.Option(help="Channel of the response; defaults to the stored one. Required before the first snapshot."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Reason for the producer, at most 256 characters.")] = None,
    config: Config = None,
) -> None:
    """Ask the producer of a response to end it, even before its start."""
    settings = read_settings(config)
    quiet_logs()
    _check(response, channel, reason)
    run_async(_cancel(settings, response, channel, reason))


def _check(response: str, channel: str | None, reason: str | None) -> None:
    from topics.controls import MAX_CONTROL_REASON
    from topics.limits import check_channel, check_response_id

    if wrong := check_response_id(response):
        raise typer.BadParameter(wrong.detail, param_hint="ID")
    if channel is not None and (wrong := check_channel(channel)):
        raise typer.BadParameter(wrong.detail, param_hint="--channel")
    if reason is not None and len(reason) > MAX_CONTROL_REASON:
        raise typer.BadParameter(f"it has more than {MAX_CONTROL_REASON} characters", param_hint="--reason")


async def _cancel(settings: "Settings", response: str, channel: str | None, reason: str | None) -> None:
    from processor.clock import Clock
    from processor.kafka.controls import KafkaControls
    from processor.service.kafka_connection import kafka_connection
    from topics.controls import ControlEvent, ControlRecord

    if channel is None:
        found = await _summary(settings, response)
        if found is None:
            raise CancelRefused(
                f"There is no response {visible(response)!r} in the store. Give its channel with --channel."
            )
        if found.finished:
            print(f"The response {visible(response)} has ended: nothing to cancel.")
            return
        channel = found.channel
    controls = KafkaControls(lambda: kafka_connection(settings), controls_topic=settings.controls_topic)
    try:
        await controls.write(ControlRecord(ControlEvent.CANCEL, response, channel, Clock().wall_ms(), reason))
    finally:
        await controls.close()
    print(f"Requested the end of {visible(response)}.")


async def _summary(settings: "Settings", response: str) -> "Summary | None":
    from processor.archive.stores import open_store

    store = open_store(settings.store_url)
    try:
        await store.start()
        return await store.summary(response)
    finally:
        await store.close()
