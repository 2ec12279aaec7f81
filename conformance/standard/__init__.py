"""Hold the documents' content as data: states, requirements, claims, transition cells, profiles of targets."""
