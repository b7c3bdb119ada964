from collections.abc import Iterator

import pytest

from devtools.kafka import LocalKafka
from support.secured import Certificates, make_certificates, secured_kafka


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(certificates: Certificates) -> Iterator[LocalKafka]:
    broker = secured_kafka(certificates)
    try:
        broker.start_blocking()
        yield broker
    finally:
        broker.close_blocking()
