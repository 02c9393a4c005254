"""Studies: questions about training that are answered by a measurement, each with one command."""
