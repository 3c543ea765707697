"""Which compressions of records this process can read."""

from __future__ import annotations

from kafka import codec

# The codec as topics and producers name it -> the package by which kafka-python reads it.
PACKAGES = {"snappy": "python-snappy", "lz4": "lz4", "zstd": "zstandard"}


def missing_codecs() -> dict[str, str]:
    """Codec -> the package to install; empty when a batch of any codec can be read."""
    there = {"snappy": codec.has_snappy, "lz4": codec.has_lz4, "zstd": codec.has_zstd}
    return {name: package for name, package in PACKAGES.items() if not there[name]()}
