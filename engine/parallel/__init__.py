"""Fourth floor: data-parallel training, one model on many processes; imported when a training is asked to be parallel.

Where to read what:

- `communicator` says what is needed of a network, and makes of it a sum whose order is fixed; `mpi` has it from MPI,
  `threads` among threads of one process, over a network that can be slow;
- `shards`: which rows a rank trains on, and what they weigh; `buckets`: how gradients are sent;
- `compression`: gradients of which the largest entries alone are sent;
- `ranks`: what the training loop asks, answered for all; `states` cuts and joins what is carried from batch to batch;
- `launch`: which processes, and how many threads each.
"""

from engine.parallel.communicator import Communicator, Request
from engine.parallel.mpi import MPICommunicator
from engine.parallel.threads import run_ranks

__all__ = ["Communicator", "MPICommunicator", "Request", "run_ranks"]
