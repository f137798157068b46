"""Settings, their defaults and how we log."""
