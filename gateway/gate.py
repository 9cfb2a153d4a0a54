"""The one gate before everything about one person that leaves the store.

Rules of the file: architecture, invariant 6. Denies until consent is known. What
stays in the store (its own MQTT, API and page) and rows without a person do not
come here. Consent itself is a later issue: it will implement `Consent`, and
nothing else has to change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ingest.identifiers import is_pseudonym, is_tag

SHELF_PREFIX = "shelf."
_ABOUT_THE_SHOP = ("queue.", "agent.", "sensor.", "receiver.")
_NAMES_A_PERSON = ("tag", "visit", "visitor")
_OF_A_PERSON_AT_A_SHELF = ("tag", "tag_p")


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """An event that may leave; `visitor` is the person it is about, None = about nobody."""

    event: Mapping[str, Any]
    visitor: str | None


class Consent(Protocol):
    """Says whether a visitor has agreed to a purpose; None = nobody knows."""

    def __call__(self, visitor: str, purpose: str) -> bool | None:
        """Return True for agreed, False for refused, None for unknown."""
        ...


def consent_unknown(visitor: str, purpose: str) -> bool | None:
    """Return what is known before there is a consent register: nothing."""
    del visitor, purpose
    return None


class Gate:
    """Decides whether something about one person may leave the store; counts denials."""

    def __init__(self, consent: Consent = consent_unknown) -> None:
        self._consent = consent
        self.denied = 0

    def may_leave(self, visitor: str, purpose: str) -> bool:
        """Tell whether a record about a visitor may leave the store for a purpose.

        Parameters
        ----------
        visitor : the pseudonym
        purpose : what for, for example ``analytics`` or ``crm``
        """
        allowed = self._consent(visitor, purpose) is True
        self.denied += not allowed
        return allowed

    def visitor_for(self, visitor: str, purpose: str) -> str | None:
        """Return the pseudonym where it may leave the store, else None.

        Parameters
        ----------
        visitor : the pseudonym
        purpose : what for
        """
        return visitor if self.may_leave(visitor, purpose) else None

    def event_for(self, event: Mapping[str, Any], name: str, purpose: str) -> Leaving | None:
        """Return an event as it may leave the store, None when it may not.

        What happened at a shelf may always leave, without its person where that one's
        consent is not known. Of other events those about the shop itself may; everything
        else, also of a kind that this does not know, is about a person.

        Parameters
        ----------
        event : CloudEvents' JSON format
        name : for example ``shelf.picked``
        purpose : what for
        """
        data: Mapping[str, Any] = event["data"]
        visitor = data.get("tag")
        if name.startswith(SHELF_PREFIX):
            if visitor is not None and self.may_leave(visitor, purpose):
                return Leaving(event=event, visitor=visitor)
            kept = {key: data[key] for key in data if key not in _OF_A_PERSON_AT_A_SHELF}
            return Leaving(event={**event, "data": kept}, visitor=None)
        subject = event["subject"]
        if is_pseudonym(subject) or is_tag(subject):
            visitor = subject
        elif name.startswith(_ABOUT_THE_SHOP) and not any(key in data for key in _NAMES_A_PERSON):
            return Leaving(event=event, visitor=None)
        if visitor is None:
            self.denied += 1
            return None
        return Leaving(event=event, visitor=visitor) if self.may_leave(visitor, purpose) else None
