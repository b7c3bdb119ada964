"""Planted bugs around cancels, one for each promise. They are looked for in plans that all have cancels."""

from simulation.plants import Plant

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
)
