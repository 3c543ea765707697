"""The Kafka room: the only one that imports kafka."""
