"""Why a test of the suites fails against the double: the first reason whose pattern is found in `file test: failure`.

A failing test that no reason fits is a difference to be mended, and the run says so.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from fidelity.results import Outcome


class Kind(StrEnum):
    UNCLAIMED = "not claimed"
    OFFLINE = "needs the internet"
    SUITE = "the suite's own"
    MENDED = "a difference, mended since"
    KNOWN = "a difference, left as it is"
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
        Kind.MENDED,
        "channel names that can't be (40010), attaching, modes and `ATTACH_RESUME`",
        r"channelattachempty|channelattachinvalid|channelattach_publish_invalid|channelattach_invalid_twice|attachWithChannelParams|resume_rewind_1|failure failed_channel",
    ),
    Reason(
        Kind.MENDED,
        "token requests: ttl, timestamp, nonce, and the key's capability",
        r"rest/capability|restcapability|resttoken|Token generation|Should error with|rest/auth .*(ttl|nonce|timestamp)|batchPublish",
    ),
    Reason(
        Kind.MENDED,
        "codes for keys and tokens that are none (40101, 40400, 80018)",
        r"unrecoverableConnection|test_invalid_resume_response|invalid_token|invalid keys",
    ),
    Reason(Kind.MENDED, "recovering a connection by `recover`", r"recover multiple channels"),
    Reason(
        Kind.MENDED,
        "updates, deletes and appends: versions, and appends to a message seen whole",
        r"complete_workflow|all versions of a message|append to a message over realtime",
    ),
    Reason(
        Kind.MENDED,
        "publishing by REST for a client id or a connection",
        r"implicitly send clientId|on behalf of a Realtime connection|test_invalid_connection_key",
    ),
    Reason(Kind.MENDED, "paths that are known by another method only (404)", r"request_404"),
    Reason(
        Kind.KNOWN,
        "a token with fewer rights, given on a connection, leaves its channels attached",
        r"reauthCapabilityDowngrade",
    ),
    Reason(Kind.KNOWN, "the wildcard client id `*` is not told back", r"wildcard"),
    Reason(Kind.KNOWN, "query parameters of a REST publish are ignored", r"test_publish_params"),
    Reason(Kind.SUITE, "port 80 was not listened on in that run", r"test_with_token_str_http"),
    Reason(Kind.KNOWN, "a channel's attach is tried again later than the suite waits", r"channel_backoff"),
)


def reason_of(outcome: Outcome) -> Reason:
    return next((reason for reason in REASONS if reason.fits(outcome)), UNEXPLAINED)
