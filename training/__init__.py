"""Models, tasks on real data and one training loop, from seeds to a checkpoint."""
