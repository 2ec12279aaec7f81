"""Our end of the wire: addresses that no kernel has, connections, and the case's handle on all of it."""
