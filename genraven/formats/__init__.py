"""Files of puzzles that users have: read by what is in them, without running any of it; and written."""
