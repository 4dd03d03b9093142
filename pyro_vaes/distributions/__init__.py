"""Distributions and bijections that torch and Pyro lack."""
