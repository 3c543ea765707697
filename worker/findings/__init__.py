"""What `check` has seen -> what will stop a worker or cost it something, each with its remedy."""
