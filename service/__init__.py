"""What happens to a job: no HTTP server code in here, except the sandbox's."""
