"""The contract as OpenAPI 3.1, made from the code: routes, shapes that check requests, constants, examples."""
