"""Messages of other programs, from MQTT or Kafka -> events, by a mapping that is data."""
