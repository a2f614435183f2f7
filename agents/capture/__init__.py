"""From the packet ring to sealed segments in the spool."""
