"""From numbers to verdicts: what departs, what cannot be decided, and how much rounding is allowed."""
