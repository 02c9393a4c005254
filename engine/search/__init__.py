"""Search: a learning rate, and the values of options with which a model learns best."""
