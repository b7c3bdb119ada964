"""Ably's own client test suites, unmodified, against the local realtime double."""
