"""What crosses the wire, as pydantic models; knows nothing of the worker."""
