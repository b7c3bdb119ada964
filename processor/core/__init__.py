"""Decides everything that the relay does, without I/O.

The core has no async, clock, randomness, logging or metrics; time is an argument.
Its input is records and `now` (seconds, monotonic). Its output is frames to publish and batches to write.
The shell reports the outcome of each.
The same calls always give the same result, so a failure found under a seed replays exactly.
"""
