"""The gateway: serves the frames of the transport `direct` to readers as server-sent events.

`positions`, `events`, `buffer`, `transcripts`, `deltas` and the formats are pure. `feed` reads Kafka, `delivery` and `serving` write to
clients.
"""
