"""Metrics in the text format of Prometheus (version 0.0.4), without a library.

Rules of the file: names are ``fanous_<noun>_<unit>_total`` for counters; label values
come from bounded sets (reasons, agents), never from persons.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: its samples by label value; the label "" means no label."""

    name: str
    help: str
    kind: str
    label: str = ""
    samples: Mapping[str, float] = field(default_factory=dict)


def counter(name: str, text: str, value: float) -> Metric:
    """Return a counter without labels.

    Parameters
    ----------
    name : without the prefix ``fanous_``
    text : its help
    value : now
    """
    return Metric(name=f"fanous_{name}", help=text, kind="counter", samples={"": value})


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a gauge without labels.

    Parameters
    ----------
    name : without the prefix ``fanous_``
    text : its help
    value : now
    """
    return Metric(name=f"fanous_{name}", help=text, kind="gauge", samples={"": value})


def by_label(
    name: str, text: str, label: str, samples: Mapping[str, float], *, kind: str = "counter"
) -> Metric:
    """Return a metric with one label.

    Parameters
    ----------
    name : without the prefix ``fanous_``
    text : its help
    label : its name
    samples : label value to value
    kind : counter or gauge
    """
    return Metric(name=f"fanous_{name}", help=text, kind=kind, label=label, samples=dict(samples))


def exposition(metrics: list[Metric]) -> bytes:
    """Return metrics as Prometheus reads them.

    Parameters
    ----------
    metrics : in any order
    """
    lines = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for value, number in sorted(metric.samples.items()):
            labels = f'{{{metric.label}="{_escape(value)}"}}' if metric.label else ""
            lines.append(
                f"{metric.name}{labels} {float(number):g}"
                if number != int(number)
                else f"{metric.name}{labels} {int(number)}"
            )
    return ("\n".join(lines) + "\n").encode()


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
