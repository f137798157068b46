"""All commands of `genrelay`.

Every command imports what it needs when it runs: `genrelay --help` and the commands that only talk HTTP start in a
fraction of a second, and nothing here reads settings at import.
"""

from __future__ import annotations

import typer

from service.cli import (
    accounts,
    check_webhook,
    dead,
    deliveries,
    demo,
    destinations,
    doctor,
    jobs,
    keys,
    listen,
    openapi,
    running,
    stored_secrets,
    subscriptions,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Submit image-generation jobs, verify their callbacks, and land the outputs in your own bucket.",
)
app.command()(demo.demo)
app.command()(running.serve)
app.command()(running.migrate)
app.command()(doctor.doctor)
app.command()(openapi.openapi)
app.command()(running.sandbox)
app.add_typer(keys.app, name="keys")
app.add_typer(stored_secrets.app, name="secrets")
app.add_typer(accounts.app, name="accounts")
app.add_typer(jobs.app, name="jobs")
app.add_typer(destinations.app, name="destinations")
app.command()(destinations.check_bucket)
app.command()(check_webhook.check_webhook)
app.command()(listen.listen)
app.add_typer(subscriptions.app, name="subscriptions")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(dead.app, name="dead")
