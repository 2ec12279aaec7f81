"""The room that cases are written with: connections, the application, states to drive to, timings to check."""
