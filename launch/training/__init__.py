"""The training commands: fit, validate, test and predict."""
