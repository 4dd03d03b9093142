"""The version, which metadata, files and reports read here."""

__version__ = "0.1.0"
