"""The HTTP edge: one module per resource; thin, calls service."""
