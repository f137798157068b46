"""TypeIDs: a type prefix and a UUIDv7, sortable, readable, safe to show.

`typeid-python` does the base32; ids are UUIDs in the database and text at the edge.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import uuid_utils
import uuid_utils.compat
from typeid import TypeID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadId(ValueError):  # noqa: N818 - read where it is raised: "raise BadId"
    """The text is not an id of the wanted type."""


def new_uuid() -> UUID:
    """Return a new UUIDv7."""
    return uuid_utils.compat.uuid7()


def first_id(time: datetime) -> UUID:
    """Return the smallest UUIDv7 of a moment: what was made before it has a smaller one."""
    return UUID(int=max(0, (time - EPOCH) // timedelta(milliseconds=1)) << 80)


def show(prefix: str, uuid: UUID) -> str:
    """Return the id as it is shown: `job_01h…`."""
    return str(TypeID.from_uuid(suffix=uuid_utils.UUID(int=uuid.int), prefix=prefix))


def read(prefix: str, text: str) -> UUID:
    """Return the UUID of a shown id; raises BadId for anything else, another type's id included."""
    # Outside of its one spelling (26 lower-case characters after the prefix) nothing reaches the parser.
    if len(text) != len(prefix) + 27 or not text.startswith(prefix + "_") or not text.isascii():
        raise BadId(f"not a {prefix} id")
    try:
        uuid = UUID(bytes=TypeID.from_string(text).uuid_bytes)
    except Exception as error:
        raise BadId(f"not a {prefix} id") from error
    if show(prefix, uuid) != text:
        raise BadId(f"not a {prefix} id")
    return uuid
