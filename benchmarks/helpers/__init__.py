"""What the benchmarks share: the form of results, timing, tables, pairs of model and guide, trainings."""
