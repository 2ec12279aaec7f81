"""What the documents say, as data: states, requirements, claims, transition cells, profiles of targets."""
