"""The shapes in which people write forward and backward, read into one.

`arguments` tells the names of arguments and how a pair of functions wants to be called, `returned` finds the gradient of
each input in what backward gave, `insides` looks into caches and objects.
"""
