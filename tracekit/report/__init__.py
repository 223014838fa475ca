"""Output: values in, text out. Nothing here sees a database."""
