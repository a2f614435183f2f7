"""gRPC: authentication, the method table, translation; the only readers of protobuf."""
