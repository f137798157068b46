"""Queues, topics and buses of AWS that events are delivered to."""

from service.events.sinks.channel import SinkChannel
from service.events.sinks.sink_input import read_sink, sink_json
from service.events.sinks.sink_policy import make_sink_policy

__all__ = ["SinkChannel", "make_sink_policy", "read_sink", "sink_json"]
