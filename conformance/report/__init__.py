"""Make a run's overview, its pages, baselines and comparisons from its records alone."""
