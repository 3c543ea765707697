"""Training and evaluation; serving never imports it."""
