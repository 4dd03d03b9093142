"""Hostile files at random, and the guard under which they are read."""
