"""What makes a network a generative model: one protocol, ``method.Method``, and a place for each method."""
