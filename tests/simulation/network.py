"""The network between clients and brokers: requests are late, or fail, as planned."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any, TypeVar

from processor.errors import KafkaUnavailable
from simulation.coverage import Coverage
from simulation.log import BrokerError, Brokers
from simulation.loop import VirtualLoop

T = TypeVar("T")

REQUEST_TIMEOUT = 2.0


class Network:
    """The way from one node to the brokers and to the group's coordinator."""

    def __init__(self, loop: VirtualLoop, random: Random, coverage: Coverage, brokers: Brokers) -> None:
        self.loop = loop
        self.random = random
        self.coverage = coverage
        self._brokers = brokers
        self.brokers_cut = False
        self.coordinator_cut = False
        self.loss = 0.0
        """How likely a request, or its answer, is lost."""
        self.late = 0.0
        """How likely a request comes only when its sender has given it up."""

    async def ask(self, effect: Callable[[], T], *, coordinator: bool = False) -> T:
        """Carry out `effect` at the other side, and bring its result or BrokerError back. Raises KafkaUnavailable."""
        answer: asyncio.Future[T] = self.loop.create_future()

        def arrive_late() -> None:
            if not self._brokers.gone:
                with suppress(BrokerError):
                    effect()

        def arrive() -> None:
            if self._lost("request", coordinator):
                self._give_up(answer)
                return
            if self.late and self.random.random() < self.late:
                self.coverage.fault("kafka_request_late")
                self._give_up(answer)
                self.loop.outside(REQUEST_TIMEOUT + self.random.uniform(0.0, 6.0), arrive_late)
                return
            try:
                result = effect()
            except BrokerError as error:
                self.loop.outside(self._delay(), fail, answer, error)
                return
            if self._lost("answer", coordinator):
                self._give_up(answer)
            else:
                self.loop.outside(self._delay(), resolve, answer, result)

        self.loop.outside(self._delay(), arrive)
        return await answer

    async def ask_long(self, effect: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The same for what takes the other side some time."""
        return await asyncio.shield(await self.ask(lambda: self.loop.spawn(effect())))

    def _lost(self, what: str, coordinator: bool) -> bool:
        if self._brokers.gone:
            return True
        if self.coordinator_cut if coordinator else self.brokers_cut:
            return True
        if self.loss and self.random.random() < self.loss:
            self.coverage.fault(f"kafka_{what}_lost")
            return True
        return False

    def _give_up(self, answer: asyncio.Future[Any]) -> None:
        self.loop.outside(REQUEST_TIMEOUT, fail, answer, KafkaUnavailable("no broker answered"))

    def _delay(self) -> float:
        return self.random.uniform(0.0005, 0.004) if self.random.random() < 0.95 else self.random.uniform(0.01, 0.2)


def resolve(answer: asyncio.Future[Any], result: object) -> None:
    if not answer.done():
        answer.set_result(result)


def fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
