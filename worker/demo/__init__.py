"""The stack (real Kafka and Redis, given, in containers or embedded) and the demo that runs on it."""
