"""Measure the harness's costs and precision on the embedded lab of this machine, for `make bench`."""
