"""Data: readers, splits and loaders; the batch is a function of seed and step."""
