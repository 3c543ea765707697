"""Ways in which an image's cells and a text's tokens become one vector."""
