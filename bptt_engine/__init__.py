"""The two ways in from outside: the console script (`command`) and the pytest plugin (`pytest_plugin`).

Another project may have a top-level `engine` or `kernels` of its own, so what is loaded without being asked for stands
here, under a name that only this distribution has, and imports neither until it is needed.
"""
