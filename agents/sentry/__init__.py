"""What captures on this node without a grant: found always, killed where the kernel takes it."""
