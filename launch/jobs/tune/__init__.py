"""``genraven tune``: the same budget of tuning for each family, searched by something that has no favourite."""
