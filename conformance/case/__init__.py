"""What a case is written with: connections, the application, states to drive to, timings to check."""
