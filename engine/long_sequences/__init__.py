"""Long sequences in little memory: recomputation through time, truncation in windows, and what each of them costs.

`parts` reads a sequence part by part; `segmented` and `windows` are the two passes over it; `bias` says what a
truncation leaves out; `settings` sets recomputation on a model and predicts its memory.
"""

from engine.long_sequences.bias import truncation_bias as truncation_bias
from engine.long_sequences.segmented import segmented_bptt as segmented_bptt
from engine.long_sequences.settings import memory_of as memory_of
from engine.long_sequences.settings import recompute as recompute
from engine.long_sequences.windows import windowed_bptt as windowed_bptt
