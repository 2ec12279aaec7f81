"""What the harness costs and how exact it is: `make bench` measures it on the embedded lab of this machine."""
