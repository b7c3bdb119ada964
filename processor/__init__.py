"""The stream processor: relay (Kafka to realtime channels), archive (finished responses to a store), api (reads)."""
