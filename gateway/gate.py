"""The one gate before everything about one person that leaves the store.

Rules of the file: architecture, invariant 6. Denies until consent is known. What
stays in the store (its own MQTT, API and page) and rows without a person do not
come here. Consent itself is a later issue: it will implement `Consent`, and
nothing else has to change.
"""

from typing import Protocol


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
