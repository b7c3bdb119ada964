"""The pure core: decides everything and does no I/O. No async, clock, randomness, logging or metrics; time is an argument.

Records and `now` (seconds, monotonic) go in; frames to publish and batches to write come out; the shell reports how
each ended. The same calls always give the same result, so a failure found under a seed replays exactly.
"""
