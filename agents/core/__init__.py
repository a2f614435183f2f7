"""The agent's rules, sans-IO: no sockets, no clock, no protobuf, no async."""
