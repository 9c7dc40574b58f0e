"""Selective prediction: confidences, a calibration with a promise, decisions and their reasons.

No checker of rules is part of a score, a threshold or the choice of a candidate. A checker is handed in, and
only labels calibration puzzles.
"""
