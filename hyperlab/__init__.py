"""hyperlab: experiments with networks whose parameters come from somewhere else."""

__version__ = "0.1.0"
