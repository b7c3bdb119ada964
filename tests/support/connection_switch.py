"""Connections to a broker that a test can make fail."""

from collections.abc import Callable
from dataclasses import dataclass

from devtools.free_ports import HOST, free_port
from devtools.kafka import LocalKafka
from processor.kafka.connection import KafkaConnection


@dataclass
class ConnectionSwitch:
    """Returns the connection that clients use from now on. Those that are connected notice nothing."""

    works: KafkaConnection
    fails: Callable[[], KafkaConnection]
    is_cut: bool = False

    def __call__(self) -> KafkaConnection:
        return self.fails() if self.is_cut else self.works


def no_broker() -> KafkaConnection:
    return KafkaConnection(f"{HOST}:{free_port()}")


def without_rights(broker: LocalKafka) -> KafkaConnection:
    """As a user that may do nothing, on a broker with `support.secured.AUTHORIZED`."""
    return KafkaConnection(
        broker.listeners["CLIENT"], security_protocol="SASL_PLAINTEXT", username="stranger", password="s"
    )
