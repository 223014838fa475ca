"""Nothing: what this costs is the start and the end of Python and of the recorder."""
