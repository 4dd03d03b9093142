"""Implementations without this library, against which its speed is measured."""
