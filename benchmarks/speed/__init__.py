"""What times the engine: beside other libraries, in one interleaved run."""
