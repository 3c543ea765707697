"""Event sources that write to Kafka."""
