"""Run folders, shared pairs, and exported programs."""
