"""The DuckDB store: tables built from logs, and SQL over them."""
