"""Why a test of the suites fails against the emulator: the first reason whose pattern is found in `file test:
failure`.

A failing test without a reason is a difference to correct, and the run reports it.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from devtools.fidelity.results import Outcome


class Kind(StrEnum):
    UNCLAIMED = "not claimed"
    OFFLINE = "needs the internet"
    SUITE = "the suite's own"
    KNOWN = "a known difference"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Reason:
    kind: Kind
    what: str
    pattern: str

    def fits(self, outcome: Outcome) -> bool:
        found = re.search(self.pattern, f"{outcome.suite}/{outcome.file} {outcome.test}: {outcome.failure}")
        return found is not None


UNEXPLAINED = Reason(Kind.UNEXPLAINED, "not looked into", "")
REASONS = (
    Reason(
        Kind.UNCLAIMED, "presence", r"no presence|attachWithChannelParamsModesAndChannelModes|attachWithChannelModes"
    ),
    Reason(Kind.UNCLAIMED, "deltas", r"vcdiff|test_channel_params_as_dict"),
    Reason(Kind.UNCLAIMED, "annotations, as one of a channel's modes", r"attachWithInvalidChannelParams"),
    Reason(Kind.UNCLAIMED, "token revocation", r"revokeTokens"),
    Reason(Kind.UNCLAIMED, "filtered subscriptions (`[filter=...]`)", r"subscribes to filtered channel"),
    Reason(Kind.UNCLAIMED, "channel status (`GET /channels/{name}`)", r"rest/status|restchannelstatus"),
    Reason(
        Kind.UNCLAIMED,
        "statistics or presence by REST",
        r"rest/http Should send X-Ably-Version|test_without_permissions",
    ),
    Reason(
        Kind.OFFLINE,
        "a public host, the internet check, or a name server",
        r"connectivity|ENOTFOUND|example\.com|auth_url_|test_jwt_reauth|test_invalid_host|Name or service not known|JWT with authCallback",
    ),
    Reason(Kind.OFFLINE, "fallback hosts", r"[Ff]allback|rest/fallbacks"),
    Reason(
        Kind.SUITE,
        "run with web sockets alone, or without its submodule of fixtures",
        r"node_transports|test_interoperability|Callback was already called|done\(\) called multiple times",
    ),
    Reason(
        Kind.KNOWN,
        "a token with fewer rights, given on a connection, leaves its channels attached",
        r"reauthCapabilityDowngrade",
    ),
    Reason(
        Kind.KNOWN,
        "a token with more rights, given on a connection, adds no mode to a channel that is attached",
        r"reauthCapabilityUpgradeAddPublish",
    ),
    Reason(
        Kind.KNOWN,
        "a nonce is refused that the same test used before, in the other format",
        r"test_request_token_with_duplicate_nonce",
    ),
    Reason(Kind.KNOWN, "the wildcard client id `*` is not returned", r"wildcard"),
    Reason(Kind.KNOWN, "query parameters of a REST publish are ignored", r"test_publish_params"),
    Reason(Kind.KNOWN, "a channel's attach is tried again later than the suite waits", r"channel_backoff"),
)


def reason_of(outcome: Outcome) -> Reason:
    return next((reason for reason in REASONS if reason.fits(outcome)), UNEXPLAINED)
