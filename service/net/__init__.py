"""Requests that leave us: one guard decides where they may go, for downloads, deliveries and custom S3 endpoints."""

from service.net.guard import check_url
from service.net.policy import GuardPolicy, Refused, check_address
from service.net.resolver import NameNotFound, Resolver, ResolverAway
from service.net.transport import guarded_client

__all__ = [
    "GuardPolicy",
    "NameNotFound",
    "Refused",
    "Resolver",
    "ResolverAway",
    "check_address",
    "check_url",
    "guarded_client",
]
