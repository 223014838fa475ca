"""The C extensions: ``_engine`` runs in the program under observation, ``_kernels`` in the collector."""
