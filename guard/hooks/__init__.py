"""Adapters that hand notices of incidents to the privacy team's own systems."""
