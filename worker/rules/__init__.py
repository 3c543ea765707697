"""Rules beside the model: what a person wrote down goes before a verdict, or asks a person."""
