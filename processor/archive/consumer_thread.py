"""The thread in which Faust (0.15.3) runs its consumer, so that it always ends. By itself it may not:

* Faust stops the queue of calls into the thread before it stops the consumer. A call that comes after that, as of a
  rebalance, is never answered; the rebalance waits for it, the consumer for the rebalance, and the stop for the thread.
  Here such a call is refused.
* A consumer that stops while it joins its group waits for the broker's answer, which takes a session timeout where a
  member before it has died. Here it waits five seconds.
* Faust blocks the event loop until the thread has ended. If the thread needs the loop for its end, neither goes on, and
  the whole process is frozen. Here the loop runs while it waits.
* The interpreter waits for the thread when the process ends. Here it does not.
"""

import asyncio
from typing import Any, Final

from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from mode.threads import MethodQueue, QueuedMethod, WorkerThread
from mode.utils.futures import maybe_set_exception

from topics.client_tasks import look_at

CLOSE_SECONDS: Final = 5.0
"""How long a thread's end waits for its consumer."""
END_SECONDS: Final = 5.0
"""How long a stop waits for the thread behind its consumer's end."""


class CallQueue(MethodQueue):
    """Calls into a thread: each is answered, by ConsumerStoppedError once the queue is stopped."""

    def _queue_put(self, method: QueuedMethod) -> None:
        if self.should_stop:
            error = ConsumerStoppedError("the consumer's thread takes no more calls")
            method.promise.get_loop().call_soon_threadsafe(maybe_set_exception, method.promise, error)
        else:
            super()._queue_put(method)


class BackgroundThread(WorkerThread):
    """Ends with the process at the latest."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.daemon = True

    def stop(self) -> None:
        """Does not wait: Faust calls it on the event loop; `EndingThread.stop` waits beside it."""


class EndingThread(AIOKafkaConsumerThread):
    """See above."""

    Worker = BackgroundThread

    @property
    def method_queue(self) -> MethodQueue:
        if self._method_queue is None:
            self._method_queue = CallQueue(loop=self.thread_loop, beacon=self.beacon)
        return self._method_queue

    async def on_thread_stop(self) -> None:
        stopping = asyncio.ensure_future(super().on_thread_stop())
        stopping.add_done_callback(look_at)  # the thread ends whatever it raises, CancelledError among it
        await asyncio.wait({stopping}, timeout=CLOSE_SECONDS)

    async def stop(self) -> None:
        await super().stop()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, END_SECONDS)
