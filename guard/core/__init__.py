"""The rules, pure: no I/O, no clock, no protobuf, no async. ``now`` is a parameter."""
