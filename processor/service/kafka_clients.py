"""The common options of every Kafka client of a process."""

from typing import Any

from processor.config.settings import Settings
from processor.errors import KafkaUnavailable, SettingsError
from processor.kafka.options import ClientOptions


def client_options(settings: Settings) -> ClientOptions:
    """Reads secrets and certificates at each call, which raises KafkaUnavailable where they can't be used now."""

    def options() -> dict[str, Any]:
        try:
            return settings.kafka_client_options()
        except SettingsError as error:  # a file that was good when the process started may come back
            raise KafkaUnavailable(str(error)) from error

    return options
