"""The gRPC session with the guard; the only readers of protobuf in the agent."""
