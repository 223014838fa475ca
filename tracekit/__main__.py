"""``python -m tracekit``."""

from tracekit.cli.app import main

if __name__ == "__main__":
    main()
