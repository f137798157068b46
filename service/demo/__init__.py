"""What `genrelay demo` and the tests run beside the service: a real S3 server on this machine."""
