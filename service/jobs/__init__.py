"""A job: its states, what moves it, and how it is shown. Pure: no I/O in here."""
