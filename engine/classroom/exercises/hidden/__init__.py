"""The hidden cases of each exercise; they stay on the judge's side."""
