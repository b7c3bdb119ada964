"""On a suite's PYTHONPATH: Ably's public echo server is the sandbox."""

import socket
from typing import Any

_resolve = socket.getaddrinfo


def _getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
    return _resolve("127.0.0.1" if host in ("echo.ably.io", b"echo.ably.io") else host, *rest, **named)


socket.getaddrinfo = _getaddrinfo  # this is what the module is for: the suite itself is unchanged
