from collections.abc import Iterator

import pytest

from devtools.kafka import LocalKafka
from support.secured import Certificates, secured_kafka


@pytest.fixture(scope="module")
def secured(certificates: Certificates) -> Iterator[LocalKafka]:
    broker = secured_kafka(certificates)
    try:
        broker.start_blocking()
        yield broker
    finally:
        broker.close_blocking()
