"""Making a task's dialect out of what its page says: the shape of its body, an example, and how outputs are counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from service.providers.checking import InputCheck
from service.providers.contract import CheckedInput, Json, Mistake, Operation
from service.providers.novita.dialect import Dialect
from service.providers.ours import drop_keys, take_ours
from service.providers.replies import read_integer, read_object

Count = Callable[[dict[str, Json]], int]
Find = Callable[[Json], list[Mistake]]

MOST_OUTPUTS = 64
# Where pages have the number of outputs; those of the documented tasks that draw have the first one, up to 8.
COUNTS = (("request", "image_num"), ("request", "n"), ("image_num",), ("n",), ("images",))


def count_asked(body: dict[str, Json]) -> int:
    """Return how many outputs a body asks for, as far as anybody can tell: 1 to 64; never raises."""
    for path in COUNTS:
        value: Json = body
        for step in path:
            value = read_object(value).get(step)
        count = read_integer(value)
        if count is not None and 1 <= count <= MOST_OUTPUTS:
            return count
    return 1


def count_one(body: dict[str, Json]) -> int:
    """Return 1: the operation makes one output of one input."""
    return 1


def describe_task(
    name: str, shape: type, example: Json, count: Count = count_asked, find_more: Find | None = None
) -> Dialect:
    """Return the dialect of a documented task.

    find_more: finds mistakes that no single field shows; it is given any JSON, and what it finds counts for places at
    which the shape found nothing.
    """
    check = InputCheck(shape)
    operation = Operation(name, f"/v3/async/{name}", check.schema, example=example, native_test_mode=True)
    return Dialect(operation, partial(check_body, check, count, find_more=find_more), count)


def check_body(
    check: InputCheck, count: Count, given: Json, find_more: Find | None = None
) -> CheckedInput | list[Mistake]:
    """Check a body without its keys, and take out of it what is ours; every mistake at once."""
    body = drop_keys(given)
    mistakes = check.find_mistakes(body)
    if find_more is not None:
        told = {mistake.path for mistake in mistakes}
        mistakes += [mistake for mistake in find_more(body) if mistake.path not in told]
    return mistakes or take_ours(body, images=count(body))
