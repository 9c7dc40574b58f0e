"""Networks: tensors in, tensors out, one per file."""
