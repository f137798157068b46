"""Checking a Seedream body: its own dialect's fields, and that references and images are not too many together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.providers.checking import InputCheck
from service.providers.contract import CheckedInput, Json, Mistake
from service.providers.novita.seedream.schema import MOST_IMAGES
from service.providers.ours import drop_keys, take_ours
from service.providers.replies import read_integer, read_object


@dataclass(frozen=True, slots=True)
class BodyCheck:
    """The check of one version's bodies.

    references: the field that holds them, at most `most_references`. max_images: where that is, from the outside in.
    foreign: what the other version calls its fields, and what to say instead.
    """

    shape: InputCheck
    references: str
    most_references: int
    max_images: tuple[str, ...]
    foreign: Mapping[str, str]

    def check(self, given: Json) -> CheckedInput | list[Mistake]:
        """Check `input` of a job; every mistake at once, paths begin with `input`."""
        body = drop_keys(given)
        if mistakes := [*map(self._reword, self.shape.find_mistakes(body)), *self._find_excess(body)]:
            return mistakes
        checked = take_ours(body, images=self.count_images(body))
        # Seedream knows no `extra`, so not even an empty one goes out.
        return replace(checked, body={name: part for name, part in checked.body.items() if name != "extra"})

    def count_images(self, body: dict[str, Json]) -> int:
        """Return how many images a checked body may make; with `auto` the model decides how many of them it does."""
        if body.get("sequential_image_generation") != "auto":
            return 1
        return self._read_max_images(body) or MOST_IMAGES - len(body.get(self.references, ()))

    def _reword(self, mistake: Mistake) -> Mistake:
        """Novita ignores what it doesn't know, so that the other version's word would be paid for and do nothing."""
        instead = self.foreign.get(mistake.path.removeprefix("input."))
        if instead is None or not mistake.rule.startswith("unknown field"):
            return mistake
        return replace(mistake, rule=f"unknown field; {instead}")

    def _find_excess(self, body: Json) -> list[Mistake]:
        """The default of 15 images gives way to references by itself; a number that was asked for would not be kept."""
        body = read_object(body)
        references, asked = body.get(self.references), self._read_max_images(body)
        if body.get("sequential_image_generation") != "auto" or not isinstance(references, list) or asked is None:
            return []
        left = MOST_IMAGES - len(references)
        # Too many of either by itself was told already.
        if len(references) > self.most_references or not left < asked <= MOST_IMAGES:
            return []
        rule = f"must be at most {left}: references and images together are at most {MOST_IMAGES}"
        return [Mistake(".".join(("input", *self.max_images)), rule, str(asked))]

    def _read_max_images(self, body: Json) -> int | None:
        for name in self.max_images:
            body = read_object(body).get(name)
        return read_integer(body)
