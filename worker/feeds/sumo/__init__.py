"""A junction that SUMO simulates: what drives, what loops and radar measure, and what is true, all of one step."""
