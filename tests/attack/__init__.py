"""Attacks on runs for real: floods, liars, signals and kills at random moments, in namespaces that the attack makes itself."""
