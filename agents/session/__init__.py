"""The gRPC session with the guard."""
