"""The Redis room: the only one that imports redis."""
