"""Adapters that keep the guard's state: one contract, several databases."""
