"""Gives the detail of a dead letter by its reason, for records that give no more."""

from typing import Final

from topics.records import Reason

DETAILS: Final = {
    Reason.LATE: "inside an announced gap, or after the end of the response",
    Reason.INVALID: "some records of the response have sequence numbers and some have none",
    Reason.RESPONSE_ID_REUSED: "another start of a finished response",
    Reason.UNPUBLISHABLE: "the channel refused the response permanently",
    Reason.NO_START: "the response never started",
}
