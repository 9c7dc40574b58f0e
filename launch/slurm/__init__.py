"""SLURM: options of a cluster, the job script, and what is asked of its commands."""
