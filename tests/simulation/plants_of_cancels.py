"""Planted bugs around cancels, one for each promise. They are looked for in plans that all have cancels."""

from simulation.plants import Plant

_CANCELS = "processor.core.cancels"
_INTAKE = "processor.core.intake"
_PIPELINE = "processor.core.partition"
_RESPONSE = "processor.core.response"

PLANTS = (
    Plant(
        "ignores cancels",
        20,
        _PIPELINE,
        (
            (
                "        response = self._open.get(control.response_id)\n        if response is not None and response.phase",
                "        response = self._open.get(control.response_id)\n        if False and response.phase",
            ),
        ),
        with_cancels=True,
    ),
    Plant(
        "wants the start first",
        60,
        _INTAKE,
        (("        self.cancels.recall(response, now)\n", ""),),
        with_cancels=True,
    ),
    Plant(
        "forgets cancels at takeover",
        300,
        _PIPELINE,
        (("            self._intake.cancels.recall_for_restored(response, now)\n", ""),),
        with_cancels=True,
    ),
    Plant(
        "cancels in any channel",
        60,
        _PIPELINE,
        (("            if control.concerns(response.channel):\n", "            if True:\n"),),
        with_cancels=True,
    ),
    Plant(
        "does not read on before it decides",
        400,
        "processor.core.timers",
        (
            (
                "        if self._reading is None or position < self._reading[1]:\n            return []\n",
                (
                    "        hasty = [due for due in self._overdue if due[1] is Kind.CANCEL]\n"
                    "        self._overdue = [due for due in self._overdue if due[1] is not Kind.CANCEL]\n"
                    "        if self._reading is None or position < self._reading[1]:\n"
                    "            return hasty\n"
                ),
            ),
            ("        return fired\n", "        return [*hasty, *fired]\n"),
        ),
        with_cancels=True,
        seed=52,
    ),
    Plant(
        "publishes cancels undecided",
        40,
        "processor.core.response_intake",
        (
            (
                "        self._queue_end(self.decided_end, durable=False)\n",
                "        self._queue_end(self.decided_end, durable=reason == EndReason.CANCELLED)\n",
            ),
        ),
        with_cancels=True,
    ),
    Plant(
        "forgets that a cancel was decided",
        600,
        _RESPONSE,
        (
            (
                '        if end := decided.get("end"):\n',
                '        if (end := decided.get("end")) and end["reason"] != "cancelled":\n',
            ),
        ),
        with_cancels=True,
        seed=54,
    ),
    Plant(
        "takes the stop for a producer's",
        40,
        _RESPONSE,
        (("        self.ended_by_relay = stop.raw is None\n", "        self.ended_by_relay = False\n"),),
        with_cancels=True,
    ),
    Plant(
        "tells no producer",
        100,
        "processor.relay.worker",
        (("            self._parts.controls.notify(batch.unwanted)\n", ""),),
        with_cancels=True,
    ),
    Plant(
        "tells producers of cancels",
        100,
        "processor.core.write_queue",
        (
            (
                "EndReason.TOO_LARGE, EndReason.UNPUBLISHABLE})",
                "EndReason.TOO_LARGE, EndReason.UNPUBLISHABLE, EndReason.CANCELLED})",
            ),
        ),
        with_cancels=True,
    ),
    Plant(
        "gives no time to stop",
        60,
        _CANCELS,
        (("arm(cancel.since + self._limits.cancel_timeout,", "arm(cancel.since,"),),
        with_cancels=True,
    ),
    Plant(
        "counts the time to stop from before the start",
        300,
        _CANCELS,
        (
            ("Cancel(noted.at, now, now)", "Cancel(noted.at, noted.at, now)"),
            ("since=min(cancel.read_at, started)", "since=cancel.since"),
        ),
        with_cancels=True,
    ),
    Plant(
        "remembers cancels for ever",
        100,
        _CANCELS,
        (("    return _seconds_to_start(control, response) <= REMEMBERED_SECONDS\n", "    return True\n"),),
        with_cancels=True,
    ),
    Plant(
        "remembers the first cancel alone",
        300,
        "topics.controls",
        (
            (
                "any(each.control.ts == control.ts for each in known)",
                "known",
            ),
        ),
        with_cancels=True,
    ),
    Plant(
        "gives a cancelled response an error",
        60,
        "processor.core.response_intake",
        (
            (
                'self.error = None if end.reason == EndReason.CANCELLED else {"code": end.reason}',
                'self.error = {"code": end.reason}',
            ),
        ),
        with_cancels=True,
    ),
    Plant(
        "takes up what came long before the start",
        1000,
        _CANCELS,
        (("REMEMBERED_SECONDS or _counts(control, response):", "REMEMBERED_SECONDS or control:"),),
        with_cancels=True,
        seed=98,
    ),
)
