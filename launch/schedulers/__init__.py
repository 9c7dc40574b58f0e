"""Schedulers of clusters: what is asked of one, what a job asks, and SLURM, the one that is shipped."""
