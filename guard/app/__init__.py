"""The use cases. They talk to ports only; every one of them ends in the log."""
