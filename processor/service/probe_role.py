"""The probe, built from settings. Imported only if it is used, so that other apis need not load the realtime
service's client.
"""

from random import Random

from processor.ably.ably import AblyOptions
from processor.ably.subscription import Subscription
from processor.api.access import Grant
from processor.api.app import ApiParts
from processor.api.responses import Responses
from processor.config.settings import Settings
from processor.config.values import ApiToken
from processor.errors import SettingsError
from processor.probe.probe import Plan, Probe, ProbeParts
from processor.service.kafka_connection import kafka_connection
from processor.telemetry.metrics import Metrics
from topics.producer import TokenProducer

PRODUCER_SECONDS = 10.0


def build_probe(
    settings: Settings,
    channel: str,
    api: ApiParts,
    metrics: Metrics,
    random: Random,
    plan: Plan = Plan(),  # noqa: B008 - frozen
) -> Probe:
    responses = Responses(api.store, api.tombstones)

    def key() -> str:
        secret = settings.current_secret("ably_key")
        if secret is None:
            raise SettingsError(["TOKENSTREAM_ABLY_KEY: must be set where TOKENSTREAM_PROBE_CHANNEL is"])
        return secret

    def producer() -> TokenProducer:
        return TokenProducer(
            **kafka_connection(settings).arguments(),
            topic=settings.tokens_topic,
            deadline=PRODUCER_SECONDS,
            controls_topic=None,
        )

    ably = AblyOptions(
        key=key, client_id=settings.ably_client_id, endpoint=settings.ably_endpoint, tls=settings.ably_tls
    )
    parts = ProbeParts(
        channel=channel,
        client_id=settings.ably_client_id,
        producer=producer,
        follow=lambda: Subscription(ably, channel),
        stored=api.store.get,
        forget=lambda response_id: responses.delete(Grant("probe", tokens=(ApiToken("", "*"),)), response_id),
        metrics=metrics,
        random=random,
    )
    return Probe(parts, plan)
