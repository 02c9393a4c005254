PEERS = ("torch", "autograd", "jax", "chainer")
