"""The gate in front of the media relay: what keeps every other way to it shut."""
