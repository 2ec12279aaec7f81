"""Sensitivity: every case is seen failing on its last check, on the real stack."""
