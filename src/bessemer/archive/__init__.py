"""What outlives a conversion: the manifest that would reproduce it, and models between two stages (`.bsm`)."""
