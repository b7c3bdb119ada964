"""Run a command that dies with the process that started it, even when that one is killed with SIGKILL.

    python tied.py PARENT_PID COMMAND ARGUMENT...

The process becomes COMMAND (same process id), so signals reach the command itself. On Linux the kernel sends it
SIGKILL when the *thread* that started it ends (prctl(2), PR_SET_PDEATHSIG): start it from a thread that lives as
long as the child should. Elsewhere there is no such call; a killed parent leaves its child running.

Imports nothing outside the standard library: it is run as a file by an isolated interpreter, to start in 20 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Has the kernel end this process with its parent, whose process id this is. Ends it at once if that has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call above
            sys.exit(1)


def main(arguments: list[str]) -> None:
    parent, command = int(arguments[0]), arguments[1:]
    end_with(parent)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
