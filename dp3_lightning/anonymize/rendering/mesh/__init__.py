"""Draw faces by their mesh: the real face lends its motion, a drawn person everything else."""
