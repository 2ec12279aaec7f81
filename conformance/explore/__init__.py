"""Explore a target beyond the cases that people wrote: every segment in every state, and words of segments and calls."""
