"""Whatever arrives is data: every reader of foreign octets is fed any octets, and lets no exception of its own out."""
