"""From numbers to verdicts: what departs, what cannot be told, and how far rounding is allowed for."""
