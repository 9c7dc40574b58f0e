"""Runs that are started elsewhere or later: one as a job of a cluster, a grid as an array of them or in turn here."""
