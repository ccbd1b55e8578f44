"""Figures, tables and the HTML page of a run, read from the run folder alone."""
