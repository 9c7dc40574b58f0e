"""What is done with a trained model: sample, complete, calibrate, score, evaluate, probe, export, report."""
