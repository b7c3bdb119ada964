"""The transport `direct`: frames are published to a Kafka topic, which gateways serve to readers."""
