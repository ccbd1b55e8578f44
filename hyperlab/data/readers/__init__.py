"""One file a format: each reader returns plain numpy arrays or raises a `DataError` that says what to do."""
