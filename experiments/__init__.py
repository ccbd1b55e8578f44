"""Studies: one entry file each."""
