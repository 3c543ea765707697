"""The fusion model and its runtime."""
