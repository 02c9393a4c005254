"""The forms in which people write forward and backward, read into one form.

`arguments` tells what arguments are called and how a pair of functions wants to be called; `inputs` keeps copies of
them; `returned` finds the gradient of each in what backward gave; `gate_blocks` tells weights with gates side by side;
`insides` looks into caches and objects; `options` makes sure of what the caller asks for.
"""
