"""AWS as everybody here uses it: whose credentials, clients that stay open, and one HTTP session with the guard below it."""
