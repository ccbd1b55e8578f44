"""`python -m hyperlab.sweep`."""

from hyperlab.sweep import main

if __name__ == "__main__":
    main()
