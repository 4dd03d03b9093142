"""Distributions and bijections.

Hand-written, since torch and Pyro lack these, or their pathwise gradients and closed-form KL divergences.
"""
