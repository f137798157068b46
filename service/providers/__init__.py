"""Providers: pure functions that build requests and read replies. No socket, no clock, no database in here."""
