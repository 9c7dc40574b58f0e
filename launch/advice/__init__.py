"""An answer without a training: what the studies that ship with genraven say to a question."""
