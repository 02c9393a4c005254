"""Second opinions on a gradient that share nothing with the backward pass under check."""
