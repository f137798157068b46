"""What docs/sandbox.md tells a reader to set is enough."""

from __future__ import annotations

import re
from pathlib import Path

from service.demo.s3server import S3Server
from service.providers.modelslab import PROVIDER as MODELSLAB
from tests.world import running_world

PAGE = Path(__file__).parents[2] / "docs" / "sandbox.md"
_EXPORT = re.compile(r"(GENRELAY_[A-Z_0-9]+)=(\S+)")


async def test_a_paid_job_of_each_provider_is_stored_with_the_settings_of_the_page(
    database_url: str, s3_server: S3Server, bucket: str
) -> None:
    block = PAGE.read_text(encoding="utf-8").partition("```sh\n")[2].partition("```")[0]
    told = dict(_EXPORT.findall(block))
    nothing = {"GENRELAY_PROVIDERS__NOVITA__OUTPUT_HOSTS": "", "GENRELAY_ALLOWED_PRIVATE_SUBNETS": ""}
    # The test's sandbox listens elsewhere than the page's.
    here = {name: value for name, value in told.items() if not name.endswith("__BASE_URL")}
    assert len(told) - len(here) == 2
    async with running_world(database_url, s3_server, bucket, **{**nothing, **here}) as world:
        example = MODELSLAB.operations["text2img"].example
        jobs = [
            await world.submit(),
            await world.submit(provider="modelslab", operation="text2img", input=example),
        ]
        assert [(await world.end(job))["status"] for job in jobs] == ["succeeded", "succeeded"]
