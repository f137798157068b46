"""botocore's session as we use it: its data files read once per process, and S3 endpoints worked out once per bucket."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

from aiobotocore.session import AioSession
from botocore.loaders import Loader


def lean_session() -> AioSession:
    """Return a session whose S3 endpoints are worked out once per bucket instead of once per object."""
    session = AioSession()
    session.register_component("data_loader", _lean_loader(session.get_config_variable("data_path")))
    return session


@cache
def _lean_loader(data_path: str | None) -> LeanLoader:
    """Return the one loader of this process: it keeps the files, whose reading is most of what a client costs."""
    return LeanLoader(data_path.split(os.pathsep) if data_path else None)


class LeanLoader(Loader):  # type: ignore[misc]
    """Loads AWS's data files, the rules for S3 endpoints without the object's key.

    botocore remembers endpoints by all parameters of the rules. The key is one of them although no rule looks at it, so
    that it remembers nothing: a quarter of the CPU time of a small write went into evaluating rules.
    """

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        """Return a data file as botocore has it, or without what makes it slow."""
        model = super().load_service_model(service_name, type_name, api_version)
        if (service_name, type_name) != ("s3", "endpoint-rule-set-1") or '{"ref": "Key"}' in json.dumps(model["rules"]):
            return model
        return {**model, "parameters": {name: each for name, each in model["parameters"].items() if name != "Key"}}
