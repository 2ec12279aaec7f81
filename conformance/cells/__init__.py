"""Run the rows of the documented machine: segments, calls, timeouts and arcs."""
