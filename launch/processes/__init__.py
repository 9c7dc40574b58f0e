"""Processes: who started this one, how several are started, and what they do together."""
