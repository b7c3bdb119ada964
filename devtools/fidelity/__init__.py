"""Ably's own client test suites, unmodified, against the local emulator."""
