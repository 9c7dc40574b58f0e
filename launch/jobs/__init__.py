"""Runs that are started elsewhere or later: one as a SLURM job, a grid as an array of them or in turn here."""
