"""The stages of a query as OpenTelemetry spans, for users who have set OpenTelemetry up.

Without it, a stage costs about 5 µs; a query takes about 20 ms.
"""

from __future__ import annotations

from opentelemetry.trace import get_tracer

stage = get_tracer("rag_tools").start_as_current_span
"""``@stage("rag_tools.gather")``: each call of the function is a span of the current trace."""
