"""The loop that calls the stages in order, and what it keeps between turns."""
