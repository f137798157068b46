"""Every alert fires when it is to, and is silent when it is not; what it counts is there before it happens."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import httpx
import promql_parser
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from service import metrics
from service.app import Role, _make_deliverer
from service.demo.s3server import S3Server
from service.engine.worker import Engine
from service.events.letter import Outcome
from service.jobs.lifecycle import ENDED
from service.limits import NAMES
from service.providers.contract import SubmitOutcome
from service.providers.registry import PROVIDERS
from tests.engine.driven import driven_world
from tests.operating.evaluating import Samples, is_firing
from tests.operating.rules import ROOT, Rule, alerts, our_metrics
from tests.processes import serve
from tests.world import environment, free_port

ALERTS = {rule.name: rule for rule in alerts()}
ROLES: Samples = {
    'genrelay_process_role_info{role="api"}': 1,
    'genrelay_process_role_info{role="worker", instance="b"}': 1,
}
ONCE = [*[0] * 10, 1, 1]  # a counter that was there before it first counted
GROWING = [minute * 60 for minute in range(121)]  # one a second
STILL = [7] * 121


def ratio(name: str, part: str, whole: str, others: str = "") -> tuple[Samples, Samples]:
    """Return samples where all there is has the label of the part, and where hardly any has."""
    little = [minute // 10 for minute in range(121)]
    labels = f"{{{part}, {others}}}", f"{{{whole}, {others}}}"
    return (
        {name + labels[0]: GROWING, name + labels[1]: STILL},
        {name + labels[0]: little, name + labels[1]: GROWING},
    )


def gauge(line: str, bad: float, good: float) -> tuple[Samples, Samples]:
    """Return samples of a gauge: it has been bad all the time, or good."""
    return {line: bad}, {line: good}


def buckets(name: str, others: str) -> tuple[Samples, Samples]:
    """Return samples of a histogram where everything took long, and where nothing did."""
    small, large, all_of_it = (f'{name}_bucket{{le="{bound}", {others}}}' for bound in ("0.5", "5", "+Inf"))
    return (
        {small: STILL, large: GROWING, all_of_it: GROWING},
        {small: GROWING, large: GROWING, all_of_it: GROWING},
    )


NOVITA = 'provider="novita", operation="txt2img", test="false"'
SUBMITTED = f'genrelay_submits_total{{outcome="Accepted", {NOVITA}}}'
KEPT = 'genrelay_callbacks_total{provider="novita", result="kept"}'
REFUSED = 'genrelay_callbacks_total{provider="novita", result="unavailable"}'
HEALTHY = 'genrelay_engine_healthy{instance="b"}'
# For every alert what makes it fire, and what is near and does not.
CASES: dict[str, tuple[Samples, Samples]] = {
    "GenrelayGone": ({}, {"genrelay_build_info": 1}),
    "GenrelayNoApi": ({'genrelay_process_role_info{role="worker"}': 1}, ROLES),
    "GenrelayNoWorker": ({'genrelay_process_role_info{role="api"}': 1}, ROLES),
    "GenrelayTargetDown": ({'up{job="genrelay"}': 0}, {'up{job="genrelay"}': 1, 'up{job="other"}': 0}),
    "GenrelayNotReady": (
        {'kube_pod_status_ready{condition="true", pod="genrelay-api-5d9-x"}': 0},
        {'kube_pod_status_ready{condition="true", pod="genrelay-migrate-x"}': 0},
    ),
    "GenrelayRestarting": (
        {'process_start_time_seconds{job="genrelay"}': [1] * 10 + [2] * 6 + [3] * 6 + [4] * 7},
        {'process_start_time_seconds{job="genrelay"}': [1] * 10 + [2] * 20},
    ),
    # Liveness has restarted it after a minute, and a worker that fails no more is healthy from its start.
    "GenrelayWorkerUnhealthy": (
        {**ROLES, HEALTHY: [1, 1, 1, 0, None, 1, 1, 1]},
        {**ROLES, HEALTHY: [1, 1, None, 1], "genrelay_engine_healthy": 0},
    ),
    "GenrelayWorkersRebuilt": (
        {'genrelay_worker_restarts_total{worker="copies"}': GROWING},
        {'genrelay_worker_restarts_total{worker="copies"}': ONCE},
    ),
    "GenrelayVersionsMixed": (
        {'genrelay_build_info{version="0.1.1"}': 1, 'genrelay_build_info{version="0.2.0", instance="b"}': 1},
        {'genrelay_build_info{version="0.2.0"}': 1, 'genrelay_build_info{version="0.2.0", instance="b"}': 1},
    ),
    "GenrelayApiErrors": ratio("genrelay_http_requests_total", 'status="503"', 'status="200"', 'route="/v1/jobs"'),
    "GenrelayApiSlow": buckets("genrelay_http_request_duration_seconds", 'route="/v1/jobs"'),
    "GenrelayRequestsLimited": (
        {'genrelay_requests_limited_total{limit="open_jobs"}': GROWING},
        {'genrelay_requests_limited_total{limit="open_jobs"}': ONCE},
    ),
    "GenrelayCallbacksRefused": ({REFUSED: [0, 0, 1, 1, 1, 1]}, {REFUSED: 1, KEPT: GROWING}),
    "GenrelayCallbacksMissing": ({SUBMITTED: GROWING, KEPT: STILL}, {SUBMITTED: GROWING, KEPT: GROWING}),
    "GenrelayCallbackTokensBad": (
        {'genrelay_callbacks_total{provider="unknown", result="bad_token"}': GROWING},
        {'genrelay_callbacks_total{provider="unknown", result="bad_token"}': ONCE, KEPT: GROWING},
    ),
    "GenrelayQueueLate": (
        {'genrelay_queue_oldest_age_seconds{task="copy"}': 121},
        {'genrelay_queue_oldest_age_seconds{task="copy"}': 90, 'genrelay_queue_oldest_age_seconds{task="submit"}': 500},
    ),
    "GenrelaySubmitsLate": gauge('genrelay_queue_oldest_age_seconds{task="submit"}', 901, 500),
    "GenrelayDeadLetters": gauge("genrelay_dead_letters_waiting", 1, 0),
    "GenrelayJobsFailing": ratio(
        "genrelay_jobs_ended_total", 'status="failed"', 'status="succeeded"', 'provider="novita", test="false"'
    ),
    "GenrelayProviderLeftAlone": gauge('genrelay_breaker_open{provider="novita", operation="txt2img"}', 1, 0),
    "GenrelayProviderRefuses": ratio("genrelay_submits_total", 'outcome="Rejected"', 'outcome="Accepted"', NOVITA),
    "GenrelayProviderThrottles": ratio(
        "genrelay_provider_calls_total", 'outcome="429"', 'outcome="2xx"', 'provider="novita", call="submit"'
    ),
    "GenrelaySubmitsUnclear": (
        {f'genrelay_submits_total{{outcome="Unclear", {NOVITA}}}': [0, 0, 4]},
        {f'genrelay_submits_total{{outcome="Unclear", {NOVITA}}}': [0, 0, 3]},
    ),
    "GenrelayOutputsExpiring": gauge('genrelay_outputs_about_to_expire{source="expired"}', 1, 0),
    "GenrelayFailedOutputsExpiring": gauge('genrelay_outputs_about_to_expire{source="failed"}', 1, 0),
    "GenrelaySpoolRefuses": (
        {'genrelay_spooled_total{outcome="late"}': ONCE},
        {'genrelay_spooled_total{outcome="late"}': 1, 'genrelay_spooled_total{outcome="spooled"}': GROWING},
    ),
    "GenrelaySpoolEnding": gauge("genrelay_spool_ending", 1, 0),
    "GenrelayOutputMemoryFull": (
        {"genrelay_output_memory_waiting": 2},
        {"genrelay_output_memory_waiting": [2, 2, 0, 2] * 30},
    ),
    "GenrelayFeedStalled": gauge("genrelay_events_unplaced_age_seconds", 31, 2),
    "GenrelayDeliveriesLate": gauge("genrelay_deliveries_overdue_seconds", 61, 5),
    "GenrelayDeliveriesOurFault": (
        {'genrelay_delivery_attempts_total{channel="url", outcome="ours"}': GROWING},
        {
            'genrelay_delivery_attempts_total{channel="url", outcome="ours"}': ONCE,
            'genrelay_delivery_attempts_total{channel="url", outcome="failed"}': GROWING,
        },
    ),
    "GenrelaySubscriptionsDisabled": (
        {'genrelay_subscription_trouble_total{kind="disabled"}': ONCE},
        {'genrelay_subscription_trouble_total{kind="failing"}': ONCE},
    ),
    "GenrelayListenerDown": gauge("genrelay_listener_up", 0, 1),
    "GenrelayPoolExhausted": buckets("genrelay_pool_wait_seconds", 'pool="genrelay"'),
    "GenrelayErasureStuck": gauge("genrelay_erasure_age_seconds", 90_000, 80_000),
    "GenrelayHousekeepingStopped": gauge("genrelay_housekeeping_last_success_timestamp_seconds", 600, 6000),
}


def minutes(rule: Rule) -> int:
    """Return for how long it has to last."""
    return int(rule.wait[:-1]) * {"m": 1, "h": 60}[rule.wait[-1]]


def test_there_are_samples_for_every_alert() -> None:
    assert set(CASES) == set(ALERTS)


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_is_to(name: str) -> None:
    rule, (bad, good) = ALERTS[name], CASES[name]
    assert is_firing(rule.expr, minutes(rule), bad)
    assert not is_firing(rule.expr, minutes(rule), good)


def test_a_counter_that_is_born_with_one_has_not_increased() -> None:
    assert not is_firing("increase(genrelay_spooled_total[15m]) > 0", 0, {"genrelay_spooled_total": [1, 1, 1]})


def test_one_of_two_installations_is_missed_where_only_its_workers_are_left() -> None:
    there = {line.replace("{", '{namespace="other", '): value for line, value in ROLES.items()}
    left: Samples = {**there, 'genrelay_process_role_info{role="worker"}': 1}
    assert is_firing(ALERTS["GenrelayNoApi"].expr, 3, left)
    assert not is_firing(ALERTS["GenrelayNoApi"].expr, 3, {**there, **ROLES})


def selectors(expr: str) -> list[tuple[Any, bool]]:
    """Return every selector of an expression, and whether an increase or a rate is taken of it."""
    found, ranged = list[Any](), list[int]()

    def enter(node: Any) -> bool:
        if isinstance(node, promql_parser.Call) and node.func.name in {"rate", "increase"}:
            ranged.append(id(node))
            found.append((node.args[0].vector_selector, True))
        elif isinstance(node, promql_parser.VectorSelector):
            found.append((node, False))
        return True

    promql_parser.walk(promql_parser.parse(expr), enter, lambda _: True)
    return found


def alternatives(matcher: Any) -> list[str]:
    """Return the values that a matcher names."""
    return [str(value) for value in matcher.value.split("|")] if "Re" in str(matcher.op) else [str(matcher.value)]


def words_of_the_code() -> Iterator[str]:
    """Yield every text and every name of a class in the code, but for where lines are only announced."""
    for folder in ("service", "handlers"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path == ROOT / "service/metrics.py":
                continue
            for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
                elif isinstance(node, ast.ClassDef):
                    yield node.name


# Values that are made at run time, or by others.
MADE = {
    "status": {"5.."},
    "test": {"true", "false"},
    "job": {"genrelay"},
    "condition": {"true"},
    "pod": {".*genrelay-(api", "worker", "all).*"},
}


def test_every_value_that_an_alert_asks_for_is_one_that_the_code_writes() -> None:
    words = set(words_of_the_code())
    for rule in ALERTS.values():
        for selector, _ in selectors(rule.expr):
            for matcher in selector.matchers.matchers:
                for value in alternatives(matcher):
                    assert value in words | MADE.get(matcher.name, set()), (rule.name, matcher.name, value)


# Taken as a share that has to last for minutes; what is missed is one request of each process.
SHARES = {"genrelay_http_requests_total", "genrelay_provider_calls_total"}


OPERATIONS = [(name, operation) for name, provider in PROVIDERS.items() for operation in provider.operations]
# What counters have to show from the first moment on, as the code has it.
KNOWN: dict[str, set[tuple[str, ...]]] = {
    "genrelay_spooled_total": {("spooled",), ("source",), ("spool",), ("late",), ("error",)},
    "genrelay_subscription_trouble_total": {("failing",), ("disabled",)},
    "genrelay_deliveries_total": {("delivered",), ("failed",), ("canceled",)},
    "genrelay_delivery_attempts_total": set(product(("url", "sink"), get_args(Outcome))),
    "genrelay_destination_events_total": {("destination.failing",), ("destination.recovered",)},
    "genrelay_requests_limited_total": {*((name,) for name in NAMES if name != "requests_burst"), ("unknown_keys",)},
    "genrelay_callbacks_total": {*product(PROVIDERS, ("kept", "unavailable", "internal")), ("unknown", "bad_token")},
    "genrelay_submits_total": {
        (*operation, kind.__name__, test)
        for operation, kind, test in product(OPERATIONS, get_args(SubmitOutcome), ("false", "true"))
    },
    "genrelay_jobs_ended_total": {
        (*operation, status.value, test) for operation, status, test in product(OPERATIONS, ENDED, ("false", "true"))
    },
}


async def lines_of(role: Role, database_url: str, log: Path) -> list[Sample]:
    """Return what a process shows at `/metrics` when it has just started."""
    given = environment(port=free_port(), sandbox_url="http://127.0.0.1:9", database_url=database_url)
    async with serve(given, log, role) as process, httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"{process.url}/metrics")).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def asked_for(rule: Rule, role: Role) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what an alert counts by name, and labels of which a process has to show a line."""
    for selector, counted in selectors(rule.expr):
        if not counted or selector.name in SHARES or not selector.name.endswith("_total"):
            continue
        if selector.name == "genrelay_worker_restarts_total" and role == "api":
            continue
        named = [m for m in selector.matchers.matchers if str(m.op) in {"MatchOp.Equal", "MatchOp.Re"}]
        for values in product(*map(alternatives, named)):
            yield selector.name, {m.name: value for m, value in zip(named, values, strict=True)}


@pytest.mark.parametrize("role", ["api", "worker"])
async def test_what_alerts_count_is_zero_before_it_happens(role: Role, database_url: str, tmp_path: Path) -> None:
    lines = await lines_of(role, database_url, tmp_path / "log")
    for rule in ALERTS.values():
        for name, wanted in asked_for(rule, role):
            found = {line.value for line in lines if line.name == name and wanted.items() <= line.labels.items()}
            assert found == {0.0}, (rule.name, wanted)
    for name, known in KNOWN.items():
        [metric] = [metric for each, metric in our_metrics() if each == name]
        shown = {tuple(line.labels[label] for label in metric._labelnames) for line in lines if line.name == name}
        assert shown == known, name
    [healthy] = [line.value for line in lines if line.name == "genrelay_engine_healthy"]
    assert healthy == (1 if role == "worker" else 0)


async def test_a_worker_is_healthy_before_its_first_round_is_over(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    async with driven_world(database_url, s3_server, bucket) as without_workers:
        service = without_workers.service
        metrics.ENGINE_HEALTHY.set(0)  # one such sample of a worker is an alert
        engine = Engine(service.context, service.dsn, _make_deliverer(service.context, {}))
        engine.start()
        healthy = REGISTRY.get_sample_value("genrelay_engine_healthy")
        await engine.stop()
    assert healthy == 1
