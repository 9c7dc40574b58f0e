"""Run folders and exported models: what stands in them, who trains there, how they stand."""
