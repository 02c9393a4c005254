"""What scores the gradient checker."""
