"""Solution: an embedding."""

import numpy as np


def embedding_forward(weight, ids):
    return weight[ids], (weight.shape, ids)


def embedding_backward(dy, cache):
    shape, ids = cache
    dweight = np.zeros(shape)
    np.add.at(dweight, ids, dy)
    return dweight
