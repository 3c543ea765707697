"""Committed results -> somewhere beyond Kafka."""
