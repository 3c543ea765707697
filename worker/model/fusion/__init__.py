"""How the parts meet: one signature, four kinds."""
