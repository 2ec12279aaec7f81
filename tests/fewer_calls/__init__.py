"""`make fewer-calls`: runs the quick tier on smoltcp with each call of its agent taken away in turn."""
