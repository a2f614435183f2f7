"""The node's answers to recorders that ask first, over a socket on the node."""
