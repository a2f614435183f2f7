"""The witness: cosigns the checkpoints of logs after checking that each continues the last."""
