"""What each of the service's codes means."""

import pytest

from processor.ably.refusals import COUNTED, kind_of, refusal
from processor.errors import PublishRefused, PublishRetry, RefusalKind


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (40160, 401, RefusalKind.CHANNEL),
        (40001, 400, RefusalKind.PASSING),
        (40009, 413, RefusalKind.TOO_LARGE),
        (42911, 429, RefusalKind.SLOW_LINK),
        (42913, 429, RefusalKind.SLOW_CHANNEL),
        (42999, 429, RefusalKind.SLOW_ALL),
        (0, 429, RefusalKind.SLOW_ALL),
        (40101, 401, RefusalKind.CREDENTIALS),
        (41234, 400, RefusalKind.UNEXPLAINED),
        (50003, 503, RefusalKind.PASSING),
        (0, 0, RefusalKind.PASSING),
    ],
)
def test_a_code_has_its_kind(code: int, status: int, kind: RefusalKind) -> None:
    assert kind_of(code, status) is kind


def test_only_what_never_passes_is_fatal() -> None:
    for code in COUNTED:
        found = refusal(code, 400, "words")
        fatal = found.kind in {RefusalKind.TOO_LARGE, RefusalKind.CHANNEL}
        assert isinstance(found, PublishRefused if fatal else PublishRetry)
        assert (found.code, str(found)) == (code, "words")
