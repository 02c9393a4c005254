"""Random wrong calls into every public function: nothing dies, nothing wrong is accepted, every refusal is a sentence.

`pool` holds the wrong values; `domains` says which values are right after all, and what they mean; the `catalogue` has
a valid call of every public function; `judge` makes a call and looks at what came of it; `drawing` draws calls.
``python -m tests.wrong_calls`` makes thousands of them in a process that may die.
"""
