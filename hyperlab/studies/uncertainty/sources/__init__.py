"""Sources of uncertainty: each is one class, with the interface of `base.Source`."""
