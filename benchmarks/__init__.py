"""Speed, as ratios against peers measured in turn in one process; ``make bench`` runs all of it."""
