"""The help texts at `/metrics` tell a reader what a number holds, and where the rest is."""

from __future__ import annotations

import re

from tests.world import World


async def test_help_texts_name_metrics_and_labels_that_there_are_and_say_what_is_not_told_apart(world: World) -> None:
    await world.run(test_mode={"enabled": True})
    text = (await world.client.get("/metrics")).text
    helps = dict(re.findall(r"^# HELP (genrelay_\S+) (.*)$", text, re.MULTILINE))
    named = {name for said in helps.values() for name in re.findall(r"genrelay_\w+", said)}
    assert {"genrelay_callbacks_judged_total", "genrelay_jobs_ended_total"} <= named <= set(helps)
    assert "test jobs" in helps["genrelay_callbacks_total"]
    assert re.search(r'^genrelay_callbacks_judged_total\{.*verdict="mock".*\}', text, re.MULTILINE)
    assert re.search(r'^genrelay_jobs_ended_total\{.*test="true".*\}', text, re.MULTILINE)
    assert "every few seconds" in helps["genrelay_line_waiting"]
