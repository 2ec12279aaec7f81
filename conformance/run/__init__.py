"""Run cases: the engine, attempts and repeats, the record of what they came to."""
