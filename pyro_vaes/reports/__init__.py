"""Comparisons, diagnoses and traversals, as pages with tables and pictures."""
