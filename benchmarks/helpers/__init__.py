"""What the benchmarks share: the form of results, timing, pairs of model and guide, trainings."""
