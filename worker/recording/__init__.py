"""Live topics -> a folder to train on."""
