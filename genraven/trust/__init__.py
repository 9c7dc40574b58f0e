"""Which completions can be relied on: confidence, calibration with a promise, decision and reason.

No checker of rules enters a score, a threshold or the choice of a candidate: what says whether a completion is right is
handed in, and used on calibration puzzles alone.
"""
