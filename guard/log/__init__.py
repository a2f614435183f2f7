"""The append-only log: one sequencer, one commit and one checkpoint per batch."""
