"""For classes: puzzles (find the planted bug) and exercises (write a function, have it judged)."""
