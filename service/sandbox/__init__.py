"""Providers to develop against: their routes and envelopes, real pictures, and a menu of faults per request."""

from service.sandbox.app import sandbox_app
from service.sandbox.settings import SandboxSettings
from service.sandbox.state import CallbackTry, Sandbox, Submit, Task

__all__ = ["CallbackTry", "Sandbox", "SandboxSettings", "Submit", "Task", "sandbox_app"]
