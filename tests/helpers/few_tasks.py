"""The embedded tasks of in-context studies, as few as they can be."""

from hyperlab.in_context import embedded


def shrink(monkeypatch):
    """Makes the store that a study draws from tiny."""
    for key, value in {"_TEMPLATES": 2, "_FURTHER": 1, "_HELD_OUT": 1, "_SUBJECTS": 6, "_BODIES": 6}.items():
        monkeypatch.setattr(embedded, key, value)
