"""What is done with a trained model: sample, complete, evaluate, probe, export, report."""
