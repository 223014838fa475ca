"""The screen of ``tracekit step``. It needs Textual, which is imported nowhere else."""
