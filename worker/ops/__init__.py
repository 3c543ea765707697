"""What an operator watches: metrics, health, logs."""
