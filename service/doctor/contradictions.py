"""Settings that are right each, and wrong together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from config.providers import ProviderSettings
from config.settings import PREFIX, Settings
from service.doctor.findings import Notes, count_of, size_of, span
from service.providers.registry import PROVIDERS

_METADATA = ip_address("169.254.169.254")


class Odd(NamedTuple):
    """What is odd, what to do, and whether it can't work at all."""

    found: str
    hint: str
    fails: bool = False


def check_contradictions(settings: Settings, notes: Notes, *, in_kubernetes: bool) -> None:
    """Note what does not fit together."""
    odd = [each for rule in _RULES for each in rule(settings)]
    odd += _place(settings) if in_kubernetes else ()
    for each in odd:
        (notes.fail if each.fails else notes.warn)("contradiction", each.found, each.hint)
    if not odd:
        notes.ok("contradiction", "none contradicts another")


def with_key(settings: Settings) -> dict[str, ProviderSettings]:
    """Return the settings of those providers whose key is given."""
    found = {name: getattr(settings.providers, name) for name in PROVIDERS}
    return {name: provider for name, provider in found.items() if provider.api_key is not None}


def is_near(url: str) -> bool:
    """Tell whether a URL names this machine or a private network by its letters; nobody is asked."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".svc")) or "." not in host


def _public_url(settings: Settings) -> Iterator[Odd]:
    url = settings.public_url
    if url is None:
        return
    far = [name for name, provider in with_key(settings).items() if not is_near(provider.base_url)]
    if is_near(url) and far:
        hint = f"Set {PREFIX}PUBLIC_URL to an https origin that they reach, or unset it: then jobs are polled."
        yield Odd(f"public_url is {url}, which {' and '.join(far)} can't reach", hint, fails=True)
    if url.startswith("http://") and not is_near(url):
        hint = f"Put TLS in front and give {PREFIX}PUBLIC_URL as https; ModelsLab demands it."
        yield Odd("public_url is plain http: everybody on the way can read callbacks and their tokens", hint)


def _time_to_drain(settings: Settings) -> Iterator[Odd]:
    longest = {
        name: max(provider.call_timeout_seconds, provider.submit_timeout_seconds)
        for name, provider in with_key(settings).items()
    }
    for name, seconds in longest.items():
        if settings.engine.drain_seconds < seconds:
            yield Odd(
                f"engine.drain_seconds is {settings.engine.drain_seconds:g}, and a call to {name} may take {seconds:g} s: a"
                " restart may cut it off, paid, and its job ends as submit_unknown",
                f"Set {PREFIX}ENGINE__DRAIN_SECONDS above {seconds:g}, and the pod's termination grace above that.",
            )


def _memory(settings: Settings) -> Iterator[Odd]:
    outputs = settings.outputs
    one_file = max(outputs.whole_bytes, outputs.part_bytes * (outputs.parts_in_flight + 1))
    if outputs.memory_bytes < one_file:
        yield Odd(
            f"outputs.memory_bytes is {size_of(outputs.memory_bytes)}, and one file may take {size_of(one_file)}",
            f"Set {PREFIX}OUTPUTS__MEMORY_BYTES to {one_file} at least, or OUTPUTS__WHOLE_BYTES and OUTPUTS__PART_BYTES lower.",
        )


def _pairs(settings: Settings) -> Iterator[Odd]:
    """Say of what should not be more than another thing."""
    given = settings
    for low_name, low, high_name, high in (
        ("reconcile.first_seconds", given.reconcile.first_seconds, "reconcile.max_seconds", given.reconcile.max_seconds),
        ("breaker.first_seconds", given.breaker.first_seconds, "breaker.max_seconds", given.breaker.max_seconds),
        ("delivery.breaker_first_seconds", given.delivery.breaker_first_seconds,
         "delivery.breaker_max_seconds", given.delivery.breaker_max_seconds),
        ("delivery.warn_after_seconds", given.delivery.warn_after_seconds,
         "delivery.disable_after_seconds", given.delivery.disable_after_seconds),
        ("events.streams_per_account", given.events.streams_per_account, "events.streams", given.events.streams),
        ("delivery.endpoint_concurrency", given.delivery.endpoint_concurrency,
         "delivery.concurrency", given.delivery.concurrency),
        ("outputs.whole_bytes", given.outputs.whole_bytes, "outputs.memory_bytes", given.outputs.memory_bytes),
    ):  # fmt: skip
        if low > high:
            hint = f"Set {_variable(low_name)} to {high:g} or less, or {_variable(high_name)} higher."
            yield Odd(f"{low_name} ({low:g}) is more than {high_name} ({high:g})", hint)


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace(".", "__")


def _retention(settings: Settings) -> Iterator[Odd]:
    kept = settings.retention
    if kept.jobs_seconds is None:
        return
    given = ("callbacks_seconds", "deliveries_seconds", "events_seconds", "retry_inputs_seconds")
    # Defaults that are longer are nobody's mistake.
    for name in (name for name in given if name in kept.model_fields_set):
        seconds = getattr(kept, name)
        if seconds is not None and seconds > kept.jobs_seconds:
            yield Odd(
                f"retention.{name} ({span(seconds)}) is longer than retention.jobs_seconds ({span(kept.jobs_seconds)}),"
                " with which all else goes",
                f"Set {_variable('retention.jobs_seconds')} to {seconds:.0f} at least.",
            )


def _timing(settings: Settings) -> Iterator[Odd]:
    engine = settings.engine
    if engine.sweep_seconds > 0.75 * engine.heartbeat_seconds:
        hint = f"Set {PREFIX}ENGINE__SWEEP_SECONDS to {0.75 * engine.heartbeat_seconds:g} or less."
        yield Odd("engine.sweep_seconds is so long that a dead worker's work lies for more than two heartbeats", hint)
    if not settings.spool.keep_seconds > 3600 and settings.spool.bucket:
        hint = f"Set {PREFIX}SPOOL__KEEP_SECONDS to days: that is how long a customer has to mend a bucket."
        yield Odd(f"the spool keeps paid outputs for {span(settings.spool.keep_seconds)} only", hint)


def _guard(settings: Settings) -> Iterator[Odd]:
    networks = settings.allowed_private_subnets
    wide = [str(network) for network in networks if network.prefixlen == 0 or _METADATA in network]
    if wide:
        hint = (
            f"Name the subnets that are meant in {PREFIX}ALLOWED_PRIVATE_SUBNETS, never 169.254.0.0/16 or everything."
        )
        yield Odd(
            f"allowed_private_subnets lets customers' URLs reach {', '.join(wide)}: the cloud's metadata among it", hint
        )
    many = [str(network) for network in networks if network.num_addresses > ip_network("10.0.0.0/8").num_addresses]
    if many and not wide:
        found = f"allowed_private_subnets has {count_of(len(many), 'very large subnet')}: {', '.join(many)}"
        yield Odd(found, f"Name smaller ones in {PREFIX}ALLOWED_PRIVATE_SUBNETS.")


def _place(settings: Settings) -> Iterator[Odd]:
    """Say what can't work in a pod."""
    if settings.host in {"127.0.0.1", "::1", "localhost"}:
        hint = f"Set {PREFIX}HOST=0.0.0.0."
        yield Odd(f"host is {settings.host}: nobody outside of the pod reaches it", hint, fails=True)
    if settings.database_url is None:
        hint = f"Set {PREFIX}DATABASE_URL."
        yield Odd("no database_url is set: the data are gone with the pod, unless its folder is a volume", hint)


_RULES: tuple[Callable[[Settings], Iterator[Odd]], ...] = (
    _public_url, _time_to_drain, _memory, _pairs, _retention, _timing, _guard,
)  # fmt: skip
